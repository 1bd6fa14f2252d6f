// Runs a user callback in isolation: an exception is rethrown asynchronously, so that it cannot end a session with
// QEMU or leave a record unwritten.

export function apart(run: () => void): void {
  try {
    run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
