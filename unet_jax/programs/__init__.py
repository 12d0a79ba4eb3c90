"""One file per command of `unet-jax`, from its flags to one function; `commands.py` lists them and runs one."""
