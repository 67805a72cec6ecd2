"""The page that runs models in a browser, and the site around it."""
