# cmake --install: the libraries, headers, the programs, and what find_package and pkg-config need. Each file belongs to
# a component, as the packages do: `shared` and `shared_c` (what runs), `development`, `programs`.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/inlay)
function(inlay_install_libraries component)
  install(TARGETS ${ARGN} EXPORT inlayTargets
          LIBRARY COMPONENT ${component} NAMELINK_COMPONENT development
          ARCHIVE COMPONENT development)
endfunction()
inlay_install_libraries(shared inlay_shared)
inlay_install_libraries(shared_c inlay_c_shared)
inlay_install_libraries(development inlay inlay_static inlay_c inlay_c_static)
install(EXPORT inlayTargets NAMESPACE inlay:: DESTINATION ${package_dir} COMPONENT development)
install(FILES include/inlay.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(DIRECTORY include/inlay DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
        FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE cmake/packaging/third_party.txt DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT development)
foreach(program inlay-run inlay-bench inlay-quantize)
  if(TARGET ${program})
    install(TARGETS ${program} COMPONENT programs)
  endif()
endforeach()

configure_package_config_file(cmake/inlayConfig.cmake.in inlayConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(inlayConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/inlayConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/inlayConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT development)

# The installed tree may be moved: everything is found from where the file lies.
file(RELATIVE_PATH prefix_from_pkgconfig /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
list(TRANSFORM cxx_runtime PREPEND "-l" OUTPUT_VARIABLE pc_libs_private)
list(JOIN pc_libs_private " " pc_libs_private)
if(INLAY_CUDA)
  string(APPEND pc_libs_private " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
endif()
function(inlay_install_pkg_config pc_library pc_description)
  configure_file(cmake/inlay.pc.in ${pc_library}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${pc_library}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
          COMPONENT development)
endfunction()
inlay_install_pkg_config(inlay "${PROJECT_DESCRIPTION}")
inlay_install_pkg_config(inlay_c "${PROJECT_DESCRIPTION}, for C")

if(PROJECT_IS_TOP_LEVEL)
  include(InlayPackages)
endif()
