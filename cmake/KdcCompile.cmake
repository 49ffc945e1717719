# kdc_flags: what all our C is compiled with, by gcc 12 and clang 19 alike. Arithmetic is that of the
# standard: no -ffast-math, and no contraction that one compiler would do and another not.
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

add_library(kdc_flags INTERFACE)
target_compile_features(kdc_flags INTERFACE c_std_11)
target_compile_definitions(kdc_flags INTERFACE _GNU_SOURCE)
target_compile_options(kdc_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
    -fno-math-errno -ffp-contract=off -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=
    $<$<BOOL:${KDC_WERROR}>:-Werror>)
if(KDC_SANITIZE)
    set(sanitize -fsanitize=${KDC_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    if(CMAKE_C_COMPILER_ID MATCHES Clang)
        list(APPEND sanitize -fno-sanitize=function) # calls through tables of typed functions
    endif()
    target_compile_options(kdc_flags INTERFACE ${sanitize})
    target_link_options(kdc_flags INTERFACE ${sanitize})
endif()

# clang does not look where gcc keeps quadmath.h.
set(KDC_QUADMATH_INCLUDE "")
if(CMAKE_C_COMPILER_ID MATCHES Clang)
    execute_process(COMMAND gcc -print-file-name=include OUTPUT_VARIABLE gcc_include
        OUTPUT_STRIP_TRAILING_WHITESPACE)
    set(KDC_QUADMATH_INCLUDE "SHELL:-idirafter ${gcc_include}")
endif()
