"""Figures, each a ratio against something measured beside it in the same run.

python -m benchmarks            # everything, about five minutes
python -m benchmarks deliveries # one of them
python -m benchmarks peers      # beside other tools: pip install -e '.[bench]' first
"""
