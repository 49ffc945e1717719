# kdc_llvm: the shared LLVM 19. Other versions are refused: 17 lacks calls of the C API that kdc makes,
# and what the code generator relies on was measured with 19.
set(KDC_LLVM_MAJOR 19)
find_package(LLVM CONFIG
    HINTS /usr/lib/llvm-${KDC_LLVM_MAJOR} $ENV{LLVM_DIR} PATH_SUFFIXES lib/cmake/llvm cmake)
if(NOT LLVM_FOUND)
    message(FATAL_ERROR "kdc needs LLVM ${KDC_LLVM_MAJOR}, which was not found: "
        "apt-get install llvm-${KDC_LLVM_MAJOR}-dev, or set LLVM_DIR to its lib/cmake/llvm.")
elseif(NOT LLVM_VERSION_MAJOR EQUAL KDC_LLVM_MAJOR)
    message(FATAL_ERROR "kdc needs LLVM ${KDC_LLVM_MAJOR}; ${LLVM_DIR} is LLVM ${LLVM_VERSION}.")
endif()

add_library(kdc_llvm INTERFACE)
target_include_directories(kdc_llvm SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS})
target_link_libraries(kdc_llvm INTERFACE LLVM)
