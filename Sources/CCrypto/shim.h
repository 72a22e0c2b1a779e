#pragma once
/* SHA256_Init and its like, not EVP: see FrameDigest.swift. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
