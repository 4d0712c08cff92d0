/** Waits for other processes: checks a condition until a deadline, and names the condition if it fails. */

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Asks `question` until its answer is truthy, and returns that answer.
 *
 * Deadlines are sanity, not performance: generous, because the machine may be compiling something.
 */
export async function until(what, question, { within = 30_000, every = 50, describe } = {}) {
  const deadline = Date.now() + within;
  let last;
  let thrown = null;
  for (;;) {
    try {
      last = await question();
      thrown = null;
      if (last) return last;
    } catch (error) {
      thrown = error;
    }
    if (Date.now() > deadline) {
      const state = describe ? await Promise.resolve().then(describe).catch((error) => `(unknown: ${error.message})`) : last;
      throw new Error(
        `not within ${within / 1000} s: ${what}; last: ${typeof state === "string" ? state : JSON.stringify(state)}` +
          (thrown ? `; ${thrown.message}` : ""),
      );
    }
    await pause(every);
  }
}

/** Waits for a promise, but not for ever. */
export async function inTime(what, within, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${within / 1000} s: ${what}`)), within);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
