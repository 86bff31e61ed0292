# cmake -DIN=FILE -DOUT=FILE.c -DNAME=IDENTIFIER -DHEADER=ITS_HEADER -P embed.cmake: the page, without its
# indentation and the comments that stand in lines of their own, compressed by gzip, as an array of bytes. The
# time is taken out (bytes 4 to 7, RFC 1952): the same page, the same bytes.
file(READ ${IN} page)
string(REGEX REPLACE "\n[ \n]+" "\n" page "${page}")
string(REGEX REPLACE "\n//[^\n]*" "" page "${page}")
string(REGEX REPLACE "\n/[*][^\n]*[*]/" "" page "${page}")
file(WRITE ${OUT}.html "${page}")
file(ARCHIVE_CREATE OUTPUT ${OUT}.gz PATHS ${OUT}.html FORMAT raw COMPRESSION GZip)
file(READ ${OUT}.gz bytes HEX)
string(REGEX REPLACE "^(........)........(.*)" "\\100000000\\2" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "((0x..,){20})" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"${HEADER}\"\n\n"
  "const unsigned char ${NAME}[] = {\n${bytes}};\nconst size_t ${NAME}_size = sizeof(${NAME});\n")
