"""What the code agents know: reading hostile source safely, and finding what is wrong in it.

The event loop talks to `reviewer.Reviewer`; everything heavy (bandit, libcst, ruff) is imported in
worker processes only, behind `pool.AnalysisPool`.
"""
