# `cpack` in the build folder makes one .tar.gz with everything, and a .deb for each component.
set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_NAME inlay)
set(CPACK_PACKAGE_VENDOR "The inlay authors")
# A .deb names an address; whoever publishes packages says which: -D CPACK_PACKAGE_CONTACT=...
set(CPACK_PACKAGE_CONTACT "The inlay authors <maintainers@inlay.invalid>" CACHE STRING "Maintainer of the packages")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_FILE_NAME inlay-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_STRIP_FILES ON)
set(CPACK_THREADS 0)
set(CPACK_COMPONENTS_ALL shared shared_c development)
if(TARGET inlay-run)
  list(APPEND CPACK_COMPONENTS_ALL programs)
endif()

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # what each binary needs, by the packages that have it
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR})
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")  # within a package name, newer libraries run older programs
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

# The names of the shared libraries' packages hold the part of the file name that changes when programs must be built
# again: old and new may then be installed side by side.
set(cpp_package libinlay${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
set(c_package libinlay-c${abi_version})
file(READ LICENSE licence)
file(READ cmake/packaging/third_party.txt third_party)
file(WRITE ${PROJECT_BINARY_DIR}/copyright "${licence}\n${third_party}")
# inlay_deb COMPONENT PACKAGE SECTION DEPENDS DESCRIPTION
macro(inlay_deb component package section depends description)
  string(TOUPPER ${component} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${package})
  set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION ${section})
  set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "${depends}")
  set(CPACK_COMPONENT_${upper}_DESCRIPTION "${description}")
  install(FILES ${PROJECT_BINARY_DIR}/copyright DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${package} COMPONENT ${component})
endmacro()
inlay_deb(shared ${cpp_package} libs "" "The shared library with the C++ and the C API.")
inlay_deb(shared_c ${c_package} libs "" "The shared library with the C API alone.")
inlay_deb(
  development libinlay-dev libdevel
  "${cpp_package} (= ${PROJECT_VERSION}), ${c_package} (= ${PROJECT_VERSION}), libpcre2-dev"
  "Headers, static libraries, and what CMake and pkg-config need.")
inlay_deb(programs inlay-tools utils "" "The programs inlay-run, inlay-bench and inlay-quantize.")
include(CPack)
