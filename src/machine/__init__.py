"""The stack's command on the machine: its commands for people, for Ansible's runs, and the watch.

Standard library only, Python 3.10 and newer. It is installed as one file, a zipapp that
plugins/lookup/machine_program.py makes; Ansible sends the same file to machines that have none yet.
"""
