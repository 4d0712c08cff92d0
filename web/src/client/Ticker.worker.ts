/**
 * Beats time for {@link Ticker}: browsers slow the timers of hidden pages down, but not those of
 * workers.
 *
 * Told a number, it beats that often a second; told 0, it stops.
 */

let timer: ReturnType<typeof setTimeout> | undefined;

onmessage = ({ data: perSecond }: MessageEvent<number>) => {
  clearTimeout(timer);
  if (perSecond <= 0) return;
  const period = 1000 / perSecond;
  let next = performance.now() + period;
  const beat = (): void => {
    postMessage(null);
    next += period;
    // A machine that slept is not owed the beats it missed.
    if (next < performance.now()) next = performance.now() + period;
    timer = setTimeout(beat, Math.max(0, next - performance.now()));
  };
  timer = setTimeout(beat, period);
};

export {};
