"""Conan 2 recipe that builds the sources around it: conan create cmake/packaging/conan --build=missing"""
import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd, stdcpp_library
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rm, rmdir
from conan.tools.gnu import PkgConfigDeps

SOURCES = "CMakeLists.txt", "LICENSE", "capi/*", "cmake/*", "cuda/*", "include/*", "lib/*"


class InlayConan(ConanFile):
    name = "inlay"
    description = "Embeddable LLM inference engine: GGUF in, tokens out, through a C++ API and a C ABI"
    license = "MIT"
    topics = "llm", "inference", "gguf"
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False], "cuda": [True, False]}
    default_options = {"shared": False, "fPIC": True, "cuda": False}
    implements = ["auto_shared_fpic"]

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._root, "include", "inlay", "version.hpp"))
        self.version = ".".join(re.findall(r"#define INLAY_VERSION_\w+ (\d+)", header))

    def export_sources(self):
        for pattern in SOURCES:
            copy(self, pattern, self._root, self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        self.requires("pcre2/10.42")
        self.requires("xxhash/0.8.2", libs=False, run=False)  # its header is all that is used

    def validate(self):
        check_min_cppstd(self, 20)

    def generate(self):
        toolchain = CMakeToolchain(self)
        for name in "TESTS", "EXAMPLES", "BENCHMARKS":
            toolchain.cache_variables[f"INLAY_BUILD_{name}"] = False
        toolchain.cache_variables["INLAY_CUDA"] = bool(self.options.cuda)
        toolchain.generate()
        PkgConfigDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        CMake(self).install()
        # Conan's generators write what finds the package. A folder with both kinds of library would leave the choice to
        # the linker.
        for folder in "cmake", "pkgconfig":
            rmdir(self, os.path.join(self.package_folder, "lib", folder))
        rmdir(self, os.path.join(self.package_folder, "share"))
        rm(self, "*.a" if self.options.shared else "*.so*", os.path.join(self.package_folder, "lib"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "inlay")
        for component, library, target in ("cpp", "inlay", "inlay::inlay"), ("c", "inlay_c", "inlay::c"):
            info = self.cpp_info.components[component]
            info.libs = [library]
            info.set_property("cmake_target_name", target)
            info.set_property("pkg_config_name", library)
            info.requires = ["pcre2::pcre2-8"]
            info.system_libs = ["m", "pthread"]
        if not self.options.shared and (runtime := stdcpp_library(self)):
            self.cpp_info.components["c"].system_libs.append(runtime)
