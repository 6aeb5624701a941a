//! An NVIDIA GPU, through its driver.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};

use super::{KernelError, Machine, Plan};

/// Each `kernels/*.cu` as a fat binary: machine code and PTX.
const IMAGES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// Shared memory that a kernel may use without asking.
const SHARED_WITHOUT_ASKING: u32 = 48 << 10;

/// A GPU with the kernels loaded. Its work runs in the order of the calls, on one stream.
pub struct Gpu {
    name: String,
    modules: Vec<sys::CUmodule>,
    functions: Mutex<HashMap<String, sys::CUfunction>>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

// SAFETY: module and function handles belong to the context, may be used from any thread, and live
// as long as the context, which this value holds; the map is behind a mutex.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// Whether the driver is installed and sees a GPU.
    pub fn is_present() -> bool {
        // SAFETY: tries to load the driver's library and says whether it could.
        let driver = unsafe { sys::is_culib_present() };
        driver && CudaContext::device_count().is_ok_and(|count| count > 0)
    }

    /// Opens GPU `ordinal` and loads the kernels.
    ///
    /// # Errors
    /// If there is no driver or no such GPU, or the driver refuses the kernels.
    pub fn new(ordinal: usize) -> Result<Self, KernelError> {
        let machine = format!("GPU {ordinal}");
        if !Self::is_present() {
            return Err(KernelError::Machine {
                machine,
                action: "opening it".into(),
                reason: "no NVIDIA driver, or it sees no GPU (nvidia-smi should list one)".into(),
            });
        }
        let failed = |action: &str| failure(&machine, action);
        let context = CudaContext::new(ordinal).map_err(failed("opening it"))?;
        let name = context.name().map_err(failed("its name"))?;
        let mut modules = Vec::new();
        for (file, image) in IMAGES {
            // SAFETY: the image is a complete fat binary that nvcc wrote.
            let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
            modules.push(module.map_err(failed(&format!("loading {file}.cu")))?);
        }
        Ok(Self {
            name,
            modules,
            functions: Mutex::default(),
            stream: context.default_stream(),
            context,
        })
    }

    fn function(&self, plan: &Plan) -> Result<sys::CUfunction, KernelError> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&plan.kernel) {
            return Ok(*function);
        }
        let name = CString::new(plan.kernel.as_str()).map_err(failure(&self.name, &plan.kernel))?;
        let function = self
            .modules
            .iter()
            // SAFETY: the modules were loaded by `new` and are never unloaded.
            .find_map(|module| unsafe { result::module::get_function(*module, name.clone()).ok() })
            .ok_or_else(|| failure(&self.name, &plan.kernel)("no kernel of this name"))?;
        if plan.shared > SHARED_WITHOUT_ASKING {
            let attribute =
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a loaded module.
            unsafe {
                result::function::set_function_attribute(function, attribute, plan.shared as i32)
            }
            .map_err(failure(&self.name, &plan.kernel))?;
        }
        functions.insert(plan.kernel.clone(), function);
        Ok(function)
    }

    fn bind(&self) -> Result<(), KernelError> {
        self.context
            .bind_to_thread()
            .map_err(failure(&self.name, "binding it to the thread"))
    }

    /// Bytes of memory that nobody has taken, and all bytes that there are.
    ///
    /// # Errors
    /// If the driver reports one.
    pub fn memory(&self) -> Result<(usize, usize), KernelError> {
        self.bind()?;
        result::mem_get_info().map_err(failure(&self.name, "its memory"))
    }

    /// Starts measuring time on the GPU.
    ///
    /// # Errors
    /// If the driver reports one.
    pub fn start(&self) -> Result<Span<'_>, KernelError> {
        Ok(Span {
            gpu: self,
            start: self.event()?,
        })
    }

    fn event(&self) -> Result<CudaEvent, KernelError> {
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        self.stream
            .record_event(flags)
            .map_err(failure(&self.name, "an event"))
    }
}

/// Time on the GPU since [`Gpu::start`].
pub struct Span<'g> {
    gpu: &'g Gpu,
    start: CudaEvent,
}

impl Span<'_> {
    /// Seconds until everything launched so far is done; waits for it.
    ///
    /// # Errors
    /// If the driver reports one.
    pub fn seconds(self) -> Result<f64, KernelError> {
        let end = self.gpu.event()?;
        let milliseconds = self
            .start
            .elapsed_ms(&end)
            .map_err(failure(&self.gpu.name, "timing"))?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

fn failure<E: Display>(machine: &str, action: &str) -> impl FnOnce(E) -> KernelError + use<E> {
    let (machine, action) = (machine.to_owned(), action.to_owned());
    move |error| KernelError::Machine {
        machine,
        action,
        reason: error.to_string(),
    }
}

impl Machine for Gpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, KernelError> {
        self.bind()?;
        let failed = || failure::<DriverError>(&self.name, &format!("allocating {bytes} bytes"));
        // SAFETY: the memory is filled before anybody sees it.
        unsafe {
            let address = result::malloc_sync(bytes.max(1)).map_err(failed())?;
            result::memset_d8_sync(address, 0xff, bytes.max(1)).map_err(failed())?;
            Ok(address)
        }
    }

    unsafe fn free(&self, address: u64, _bytes: usize) {
        // A failure here is one of an earlier launch, and the next read reports it.
        // SAFETY: the caller gives what `allocate` gave.
        let _ = self.bind().map(|()| unsafe { result::free_sync(address) });
    }

    unsafe fn write(&self, address: u64, data: &[u8]) -> Result<(), KernelError> {
        if data.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the caller promises that the memory is there.
        unsafe { result::memcpy_htod_sync(address, data) }
            .map_err(failure(&self.name, "a copy to it"))
    }

    unsafe fn clear(&self, address: u64, bytes: usize) -> Result<(), KernelError> {
        if bytes == 0 {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the caller promises that the memory is there.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) }
            .map_err(failure(&self.name, "clearing memory"))
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), KernelError> {
        if bytes == 0 {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
            .map_err(failure(&self.name, "a copy"))
    }

    unsafe fn read(&self, address: u64, data: &mut [u8]) -> Result<(), KernelError> {
        if data.is_empty() {
            return Ok(());
        }
        self.bind()?;
        self.stream
            .synchronize()
            .map_err(failure(&self.name, "waiting for kernels"))?;
        // SAFETY: the caller promises that the memory is there.
        unsafe { result::memcpy_dtoh_sync(data, address) }
            .map_err(failure(&self.name, "a copy from it"))
    }

    unsafe fn launch(
        &self,
        plan: &Plan,
        args: *const c_void,
        _size: usize,
    ) -> Result<(), KernelError> {
        self.bind()?;
        let function = self.function(plan)?;
        let [x, y, z] = plan.grid;
        // SAFETY: the kernel takes one struct by value, which `args` points to; the driver copies it
        // during the call. Its addresses are the caller's promise.
        unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (plan.threads, 1, 1),
                plan.shared,
                self.stream.cu_stream(),
                &mut [args.cast_mut()],
            )
        }
        .map_err(failure(&self.name, &plan.kernel))
    }
}
