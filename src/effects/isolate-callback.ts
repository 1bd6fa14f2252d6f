// Keeps a caller's function apart from ours: what it throws is its own bug, thrown as an uncaught error in a later turn,
// and must not end a conversation with QEMU or leave a record unwritten.

export function apart(run: () => void): void {
  try {
    run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
