"""An order saga on Temporal: workflow and activities as they run on a real server."""
