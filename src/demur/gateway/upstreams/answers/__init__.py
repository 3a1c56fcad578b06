"""An upstream's answer: how it is read, chosen by vote or by use, and passed on."""
