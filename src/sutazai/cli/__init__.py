"""The command line: operating a server, and using one."""
