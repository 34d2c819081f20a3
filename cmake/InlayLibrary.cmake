# The libraries, all from the same objects. For C++ and C: inlay::static and inlay::shared; inlay::inlay is the one that
# BUILD_SHARED_LIBS asks for, static by default. For C alone, with nothing of C++ to be seen: inlay::c_static,
# inlay::c_shared and inlay::c in the same way.
function(inlay_library name kind output)
  add_library(${name} ${kind} ${ARGN})
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${name} PRIVATE Threads::Threads PkgConfig::PCRE2)
  if(INLAY_CUDA)
    target_link_libraries(${name} PRIVATE CUDA::cudart_static)
  endif()
  string(REGEX REPLACE "^inlay_" "" export_name ${name})
  set_target_properties(${name} PROPERTIES OUTPUT_NAME ${output} EXPORT_NAME ${export_name})
  add_library(inlay::${export_name} ALIAS ${name})
  if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    return()
  endif()
  if(kind STREQUAL "SHARED")
    # -Bsymbolic: our calls reach our code, even if the process holds a second inlay.
    set(map ${PROJECT_SOURCE_DIR}/capi/${output}.map)
    target_link_options(${name} PRIVATE LINKER:--version-script=${map} LINKER:-Bsymbolic)
    set_target_properties(${name} PROPERTIES LINK_DEPENDS ${map})
  else()
    # A shared library that contains the static inlay does not export it again.
    target_link_options(${name} INTERFACE LINKER:--exclude-libs,lib${output}.a)
  endif()
endfunction()

# The interface target `name`: the static or the shared library.
function(inlay_chosen_library name static shared)
  add_library(${name} INTERFACE)
  if(BUILD_SHARED_LIBS)
    target_link_libraries(${name} INTERFACE ${shared})
  else()
    target_link_libraries(${name} INTERFACE ${static})
  endif()
endfunction()

inlay_library(inlay_static STATIC inlay $<TARGET_OBJECTS:inlay_objects>)
inlay_library(inlay_shared SHARED inlay $<TARGET_OBJECTS:inlay_objects>)
target_compile_features(inlay_static PUBLIC cxx_std_20)
target_compile_features(inlay_shared PUBLIC cxx_std_20)
# Below 1.0 the C++ API may change with the minor version, so that is part of the file name.
set_target_properties(inlay_shared PROPERTIES VERSION ${PROJECT_VERSION}
                                              SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
inlay_chosen_library(inlay inlay_static inlay_shared)
add_library(inlay::inlay ALIAS inlay)

# The C ABI has a version of its own, which alone decides whether a program can be loaded with a library.
file(STRINGS ${PROJECT_SOURCE_DIR}/include/inlay.h abi_version REGEX "#define INLAY_ABI_VERSION ")
string(REGEX REPLACE ".* " "" abi_version ${abi_version})
inlay_library(inlay_c_shared SHARED inlay_c $<TARGET_OBJECTS:inlay_objects>)
set_target_properties(inlay_c_shared PROPERTIES VERSION ${abi_version} SOVERSION ${abi_version})

# An archive has no list of exports: all objects become one, in which every name but those of the C API is local. Groups
# of sections, of which a linker keeps one for all files, would drop local code that another file has too.
set(c_object ${PROJECT_BINARY_DIR}/inlay_c.o)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_OBJCOPY)
  add_custom_command(
    OUTPUT ${c_object}
    COMMAND ${CMAKE_LINKER} -r --force-group-allocation -o ${c_object} $<TARGET_OBJECTS:inlay_objects>
    COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=inlay_* ${c_object}
    DEPENDS inlay_objects $<TARGET_OBJECTS:inlay_objects>
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties(${c_object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
else()
  set(c_object $<TARGET_OBJECTS:inlay_objects>)
endif()
inlay_library(inlay_c_static STATIC inlay_c ${c_object})
# Who links it needs no C++ compiler, so the C++ runtime is named here.
set(cxx_runtime ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
list(REMOVE_ITEM cxx_runtime ${CMAKE_C_IMPLICIT_LINK_LIBRARIES})
set_target_properties(inlay_c_static PROPERTIES LINKER_LANGUAGE C)
target_link_libraries(inlay_c_static INTERFACE ${cxx_runtime})

inlay_chosen_library(inlay_c inlay_c_static inlay_c_shared)
set_target_properties(inlay_c PROPERTIES EXPORT_NAME c)
add_library(inlay::c ALIAS inlay_c)
