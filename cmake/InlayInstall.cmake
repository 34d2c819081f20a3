# cmake --install: both libraries, headers, the programs, and what find_package and pkg-config need.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/inlay)
install(TARGETS inlay inlay_static inlay_shared EXPORT inlayTargets)
install(EXPORT inlayTargets NAMESPACE inlay:: DESTINATION ${package_dir})
install(FILES include/inlay.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/inlay DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(program inlay-run inlay-bench inlay-quantize)
  if(TARGET ${program})
    install(TARGETS ${program})
  endif()
endforeach()

configure_package_config_file(cmake/inlayConfig.cmake.in inlayConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(inlayConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/inlayConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/inlayConfigVersion.cmake
        DESTINATION ${package_dir})

# The installed tree may be moved: everything is found from where the file lies.
file(RELATIVE_PATH prefix_from_pkgconfig /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
set(inlay_private_libs "")
if(INLAY_CUDA)
  set(inlay_private_libs " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
endif()
configure_file(cmake/inlay.pc.in inlay.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/inlay.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
