/* LICENSES/, put into the binary: a licence has to go where the program goes, and it may go there alone. */
#pragma clang diagnostic ignored "-Wc23-extensions"
#include "notices.h"

#define RULE '\n', '\n', '=', '=', '=', '=', '=', '=', '=', '=', '=', '=', '=', '=', '\n', '\n',

static const char notices[] = {
#embed "../../LICENSES/THIRD-PARTY.txt"
	, RULE
#embed "../../LICENSE"
	, RULE
#embed "../../LICENSES/Swift-exception.txt"
	, RULE
#embed "../../LICENSES/BSD-2-Clause.txt"
	, RULE
#embed "../../LICENSES/GPL-2.0-only.txt"
	, RULE
#embed "../../LICENSES/LGPL-2.1.txt"
	, RULE
#embed "../../LICENSES/glibc-notices.txt"
	, RULE
#embed "../../LICENSES/LGPL-3.0.txt"
	, RULE
#embed "../../LICENSES/GPL-3.0.txt"
	, RULE
#embed "../../LICENSES/GCC-exception-3.1.txt"
	, RULE
#embed "../../LICENSES/BSD-2-Clause-libbpf.txt"
	, RULE
#embed "../../LICENSES/BSD-3-Clause-zstd.txt"
	, RULE
#embed "../../LICENSES/Zlib.txt"
	, RULE
#embed "../../LICENSES/MIT-libyaml.txt"
};

const char *mt_notices(size_t *size)
{
	*size = sizeof(notices);
	return notices;
}
