# kdc_folder(FOLDER LIBRARY [DEPENDENCY ...]): the static library of a folder's C files.
#
# `#include "ir/ir.h"` is found through <build>/include/LIBRARY/ir, a link to the folder that only
# those who name LIBRARY as a dependency have in their path. Libraries may name each other.
function(kdc_folder folder library)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.c)
    if(NOT sources) # a folder that is still empty
        file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/empty.c CONTENT "typedef int EmptyFile;\n")
        set(sources ${PROJECT_BINARY_DIR}/empty.c)
    endif()
    add_library(${library} STATIC ${sources})
    set(links ${PROJECT_BINARY_DIR}/include/${library})
    file(MAKE_DIRECTORY ${links})
    file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${folder} ${links}/${folder} SYMBOLIC)
    target_include_directories(${library} PUBLIC ${links})
    target_link_libraries(${library} PRIVATE kdc_flags PUBLIC ${ARGN})
endfunction()

# kdc_share_header(LIBRARY FOLDER/NAME.h): LIBRARY may include that header of another folder, and no other.
function(kdc_share_header library header)
    set(link ${PROJECT_BINARY_DIR}/include/${library}_shared/${header})
    get_filename_component(folder ${link} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${header} ${link} SYMBOLIC)
    target_include_directories(${library} PRIVATE ${PROJECT_BINARY_DIR}/include/${library}_shared)
endfunction()

# kdc_parser(LIBRARY STEM): adds the scanner STEM.l and the parser STEM.y. Their headers, kd.tab.h and
# kd.lex.h, are for LIBRARY alone. What flex and bison write is spared the warnings that they cause.
function(kdc_parser library stem)
    if(NOT EXISTS ${PROJECT_SOURCE_DIR}/${stem}.l OR NOT EXISTS ${PROJECT_SOURCE_DIR}/${stem}.y)
        return()
    endif()
    get_filename_component(name ${stem} NAME)
    set(out ${PROJECT_BINARY_DIR}/generated/${name})
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated)
    bison_target(${name}_parser ${stem}.y ${out}.tab.c DEFINES_FILE ${out}.tab.h
        COMPILE_FLAGS "-Wall -Wcounterexamples -Werror")
    flex_target(${name}_scanner ${stem}.l ${out}.lex.c DEFINES_FILE ${out}.lex.h)
    add_flex_bison_dependency(${name}_scanner ${name}_parser)
    target_sources(${library} PRIVATE ${out}.tab.c ${out}.tab.h ${out}.lex.c ${out}.lex.h)
    target_include_directories(${library} PRIVATE ${PROJECT_BINARY_DIR}/generated)
    set_source_files_properties(${out}.tab.c ${out}.lex.c PROPERTIES COMPILE_OPTIONS
        "-Wno-unused-function;-Wno-unused-but-set-variable;-Wno-sign-compare;-Wno-missing-prototypes;-Wno-unused-parameter;-Wno-conversion;-Wno-shadow")
endfunction()

# kdc_embed(LIBRARY FOLDER EXTENSION): adds FOLDER's files as the array `std_files` of
# frontend/std_files.h.
function(kdc_embed library folder extension)
    file(GLOB files CONFIGURE_DEPENDS ${folder}/*.${extension})
    set(out ${PROJECT_BINARY_DIR}/generated/${folder}_files.c)
    add_custom_command(OUTPUT ${out}
        COMMAND ${CMAKE_COMMAND} -DOUT=${out} "-DFILES=${files}" -DFOLDER=${folder}
                -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
        DEPENDS ${files} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
    target_sources(${library} PRIVATE ${out})
    target_include_directories(${library} PRIVATE ${PROJECT_SOURCE_DIR})
endfunction()
