"""Many runs at once, here or on a cluster: planned, submitted, followed, and gone on with.

A sweep is a folder. It holds the plan, where each job of it went, and a note of each run; a job is
a backbone on the images of one dataset. Whoever looks at the folder knows what is left to do.
"""
