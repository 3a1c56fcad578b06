"""What deciding costs, by architecture: the paper's second limitation ("overhead of router architectures") measured.

Time to fit, time of a decision, throughput, memory and size on disk on planted vectors, beside APGR where answers are
graded. `demur.paper.overhead.report` is the command.
"""
