from hypothesis import settings

# A busy machine is no wrong result.
settings.register_profile("features", deadline=None)
settings.load_profile("features")
