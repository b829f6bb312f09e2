"""One page about many runs: `python -m benchmarks.report runs/`.

`content` reads everything once; `page` and `text` write it as HTML, Markdown and CSV; `plots` has
one module per subject; `error_analysis` knows what a network gets wrong.
"""
