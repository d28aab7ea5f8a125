/* SPDX-License-Identifier: BSD-3-Clause */
/* Parameters of an instance come from the environment, so that one verifier serves many instances. */
c_decl {
	static unsigned char param(const char *name, int value)
	{
		return getenv(name) ? atoi(getenv(name)) : value;
	}
};
