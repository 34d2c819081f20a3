#!/usr/bin/env python3
"""Doxygen's INPUT_FILTER: prints a header with its plain comments as documentation, so that the headers stay plain.

inlay.h      /* ... */ before a declaration and behind a member documents it; the first comment is the file's, and its
             paragraphs "Name   text" are a list
*.hpp        the comment at the top, which uses //, is the file's
"""
import pathlib
import re
import sys


def document_c(text):
    head, end, rest = text.partition("\n */\n")
    head = head.replace("/*", "/** @file\n *", 1)
    head = re.sub(r"^ \*   (?=\S)", " *       ", head, flags=re.MULTILINE)  # the example
    head = re.sub(r"^ \* (?=[A-Z][\w ]{9}\S)(\w+) +", r" * - **\1**: ", head, flags=re.MULTILINE)
    head = re.sub(r"^ \* {11,}", " *   ", head, flags=re.MULTILINE)
    rest = re.sub(r"^( *)/\* (?!----)", r"\1/** ", rest, flags=re.MULTILINE)
    rest = re.sub(r"^( *\S.*[;,{]|.*=.*\S) +/\* ", r"\1 /**< ", rest, flags=re.MULTILINE)
    rest = re.sub(r"^#define INLAY_C_API", r"/** Marks what a shared libinlay exports. */\n\g<0>", rest, flags=re.MULTILINE)
    rest = re.sub(r"(size_t struct_size;)$", r"\1 /**< the sizeof of the caller's version */", rest, flags=re.MULTILINE)
    return head + end + rest


def document_cpp(text):
    head = re.match(r"(//.*\n)+", text)[0]
    return "/// @file\n" + re.sub(r"^//", "///", head, flags=re.MULTILINE) + text[len(head):]


path = pathlib.Path(sys.argv[1])
filters = {".h": document_c, ".hpp": document_cpp}
sys.stdout.write(filters.get(path.suffix, str)(path.read_text(encoding="utf-8")))
