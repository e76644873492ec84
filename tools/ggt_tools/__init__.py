"""The toolchain behind the command `ggt100k`: one module a stage, named as the verb."""
