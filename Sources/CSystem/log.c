#define _GNU_SOURCE
#include "log.h"

#include <stdio.h>

char *mt_format(const char *format, va_list arguments)
{
	char *text;

	return vasprintf(&text, format, arguments) < 0 ? 0 : text;
}
