# The library, twice from the same objects: inlay::static and inlay::shared. inlay::inlay is the one that
# BUILD_SHARED_LIBS asks for, static by default.
function(inlay_library name kind)
  add_library(${name} ${kind} $<TARGET_OBJECTS:inlay_objects>)
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${name} PRIVATE Threads::Threads PkgConfig::PCRE2)
  if(INLAY_CUDA)
    target_link_libraries(${name} PRIVATE CUDA::cudart_static)
  endif()
  set_target_properties(${name} PROPERTIES OUTPUT_NAME inlay)
endfunction()

inlay_library(inlay_static STATIC)
set_target_properties(inlay_static PROPERTIES EXPORT_NAME static)
add_library(inlay::static ALIAS inlay_static)

inlay_library(inlay_shared SHARED)
# Below 1.0 the C++ API may change with the minor version, so that is part of the file name.
set_target_properties(inlay_shared PROPERTIES
  EXPORT_NAME shared VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINK_DEPENDS ${PROJECT_SOURCE_DIR}/capi/inlay.map)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  # -Bsymbolic: our calls reach our code, even if the process holds a second inlay.
  target_link_options(inlay_shared PRIVATE LINKER:--version-script=${PROJECT_SOURCE_DIR}/capi/inlay.map
                                           LINKER:-Bsymbolic)
  # A shared library that contains the static inlay does not export it again.
  target_link_options(inlay_static INTERFACE LINKER:--exclude-libs,libinlay.a)
endif()
add_library(inlay::shared ALIAS inlay_shared)

add_library(inlay INTERFACE)
if(BUILD_SHARED_LIBS)
  target_link_libraries(inlay INTERFACE inlay_shared)
else()
  target_link_libraries(inlay INTERFACE inlay_static)
endif()
add_library(inlay::inlay ALIAS inlay)
