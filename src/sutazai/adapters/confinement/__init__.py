"""The program that confines one run: started as a process of its own, with as little as it needs.

It imports nothing of the server's and almost nothing of the library, because every run pays for it.
"""
