// All kernels in one unit: the static objects that register them stay with `shim_launch`. Each file
// has a namespace of its own, as each is a module of its own on a GPU.
#include "shim.cpp"

#include "../common.cuh"
#include "../attention.cuh"
#include "../gemm.cuh"

namespace in_rms_norm {
#include "../rms_norm.cu"
}
namespace in_rope {
#include "../rope.cu"
}
namespace in_swiglu {
#include "../swiglu.cu"
}
namespace in_dropout {
#include "../dropout.cu"
}
namespace in_cross_entropy {
#include "../cross_entropy.cu"
}
namespace in_optimizer {
#include "../optimizer.cu"
}
namespace in_lora {
#include "../lora.cu"
}
namespace in_attention {
#include "../attention.cu"
}
namespace in_attention_backward {
#include "../attention_backward.cu"
}
namespace in_attention_f32 {
#include "../attention_f32.cu"
}
namespace in_decode {
#include "../decode.cu"
}
namespace in_decode_attention {
#include "../decode_attention.cu"
}
namespace in_gemv {
#include "../gemv.cu"
}
namespace in_gemm {
#include "../gemm.cu"
}
namespace in_gemm_rows {
#include "../gemm_rows.cu"
}
namespace in_faults {
#include "faults.cu"
}
