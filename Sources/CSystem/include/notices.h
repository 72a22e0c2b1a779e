/* Under which terms what the binary holds is passed on. */
#ifndef MARTLET_NOTICES_H
#define MARTLET_NOTICES_H

#include <stddef.h>

/* Text in UTF-8, of that many bytes, without a zero behind it. */
const char *mt_notices(size_t *size);

#endif
