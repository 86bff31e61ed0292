# cmake -DIN=FILE -DOUT=FILE.c -DNAME=IDENTIFIER -DHEADER=ITS_HEADER -P embed.cmake: the file, compressed
# by gzip, as an array of bytes. Its time is taken out (bytes 4 to 7, RFC 1952): the same file, the same bytes.
file(ARCHIVE_CREATE OUTPUT ${OUT}.gz PATHS ${IN} FORMAT raw COMPRESSION GZip)
file(READ ${OUT}.gz bytes HEX)
string(REGEX REPLACE "^(........)........(.*)" "\\100000000\\2" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "((0x..,){20})" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"${HEADER}\"\n\n"
  "const unsigned char ${NAME}[] = {\n${bytes}};\nconst size_t ${NAME}_size = sizeof(${NAME});\n")
