/* A whole use of the C API, compiled as C11. */
#ifndef INLAY_TESTS_C_FLOW_H
#define INLAY_TESTS_C_FLOW_H

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the model, generates from "hello" and looks at everything on the way. NULL, or the condition that failed. */
const char* inlay_test_c_flow(const char* model_path);

#ifdef __cplusplus
}
#endif

#endif
