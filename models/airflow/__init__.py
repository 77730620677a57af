"""An order saga as a DAG of Airflow: its tasks are plain functions, as a PythonOperator runs them.

`right.py` is right; each module beside it is a twin with one planted bug.
"""
