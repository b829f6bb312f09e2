"""One page about many runs: `python -m benchmarks.report runs/`.

`content` reads everything once, `page` and `text` write it as HTML, Markdown and CSV, the plots
have a module a subject on top of `plots`, and `pictures` knows what a network gets wrong.
"""
