"""The pictures of runs in a browser: a local page, or a folder of files that shows a part of it.

Runs side by side are an `Album`. What a page asks about it is answered by `answers`, for the server of the local page
and for the folder alike; `choices` says which pictures are shown, and in which order.
"""
