{{- define "demur.selector" -}}
app.kubernetes.io/name: demur
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "demur.labels" -}}
{{ include "demur.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
