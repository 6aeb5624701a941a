//! The kernels on the CPU, through `kernels/shim`: slow, and exact about what a kernel touches.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, PoisonError};

use super::{KernelError, Machine, Plan};

unsafe extern "C" {
    fn shim_launch(
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        shared_bytes: u32,
        args: *const c_void,
        args_size: usize,
        error: *mut c_char,
        error_size: usize,
    ) -> i32;
    fn shim_alloc(size: usize) -> *mut c_void;
    fn shim_free(data: *mut c_void, size: usize);
    fn shim_names(out: *mut c_char, size: usize) -> usize;
}

/// One grid at a time: the scheduler's state is global.
static RUNNING: Mutex<()> = Mutex::new(());

/// Runs a grid block after block, the threads of a block as fibers. Its memory is host memory that
/// ends at a page nobody may touch, so that a kernel which writes past an end is killed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shim;

impl Shim {
    /// The name of every kernel that was compiled.
    pub fn kernels() -> Vec<String> {
        let mut names = vec![0u8; 1 << 16];
        // SAFETY: the buffer is as long as stated; the function writes no more.
        let length = unsafe { shim_names(names.as_mut_ptr().cast(), names.len()) };
        let names = String::from_utf8_lossy(&names[..length.min(1 << 16)]).into_owned();
        names.lines().map(str::to_owned).collect()
    }
}

impl Machine for Shim {
    fn name(&self) -> String {
        "the shim on the CPU".into()
    }

    fn allocate(&self, bytes: usize) -> Result<u64, KernelError> {
        // SAFETY: any size is allowed; it aborts when there is no memory.
        Ok(unsafe { shim_alloc(bytes) } as u64)
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        // SAFETY: the caller gives what `allocate` gave.
        unsafe { shim_free(address as *mut c_void, bytes) };
    }

    unsafe fn write(&self, address: u64, data: &[u8]) -> Result<(), KernelError> {
        // SAFETY: the caller promises that the memory is there; it cannot overlap `data`.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), address as *mut u8, data.len()) };
        Ok(())
    }

    unsafe fn clear(&self, address: u64, bytes: usize) -> Result<(), KernelError> {
        // SAFETY: the caller promises that the memory is there.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
        Ok(())
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), KernelError> {
        // SAFETY: the caller promises that the memory is there, and that the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    unsafe fn read(&self, address: u64, data: &mut [u8]) -> Result<(), KernelError> {
        // SAFETY: the caller promises that the memory is there; it cannot overlap `data`.
        unsafe {
            std::ptr::copy_nonoverlapping(address as *const u8, data.as_mut_ptr(), data.len());
        };
        Ok(())
    }

    unsafe fn launch(
        &self,
        plan: &Plan,
        args: *const c_void,
        size: usize,
    ) -> Result<(), KernelError> {
        let failed = |reason: String| KernelError::Machine {
            machine: self.name(),
            action: plan.kernel.clone(),
            reason,
        };
        let name = CString::new(plan.kernel.as_str()).map_err(|error| failed(error.to_string()))?;
        let mut message = [0u8; 256];
        let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: name, grid and message are as the function expects; the arguments are the
        // caller's promise, and their size is checked against the kernel's.
        let status = unsafe {
            shim_launch(
                name.as_ptr(),
                plan.grid.as_ptr(),
                plan.threads,
                plan.shared,
                args,
                size,
                message.as_mut_ptr().cast(),
                message.len(),
            )
        };
        if status == 0 {
            return Ok(());
        }
        let end = message
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(message.len());
        Err(failed(
            String::from_utf8_lossy(&message[..end]).into_owned(),
        ))
    }
}
