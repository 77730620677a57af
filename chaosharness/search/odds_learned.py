LEARNED = "|any"
