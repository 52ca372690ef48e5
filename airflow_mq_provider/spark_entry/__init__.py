"""The script that clusters run, alone in its folder: Spark puts that folder on the path of modules."""
