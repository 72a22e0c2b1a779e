/* Formatting for callbacks of printf's kind, whose va_list Swift can only hand on. */
#ifndef MARTLET_LOG_H
#define MARTLET_LOG_H

#include <stdarg.h>

/* The text in memory of its own, to be given to free(3); null if there is none left. */
char *mt_format(const char *format, va_list arguments);

#endif
