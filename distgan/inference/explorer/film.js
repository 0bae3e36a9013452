// Records frames as a video file, by the browser's own encoder.
"use strict";

const FRAMES_PER_SECOND = 24;
const KINDS = { "video/mp4": "mp4", "video/webm;codecs=vp9": "webm", "video/webm": "webm" };

const filmKind = () => Object.keys(KINDS).find((kind) => globalThis.MediaRecorder?.isTypeSupported(kind));

// draw(number) shows a frame on the canvas; tell(share) is called on the way. Returns {blob, suffix}.
async function record(canvas, frames, draw, tell) {
  const kind = filmKind();
  const stream = canvas.captureStream(0);
  const [track] = stream.getVideoTracks();
  const recorder = new MediaRecorder(stream, { mimeType: kind, videoBitsPerSecond: 8e6 });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const ended = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start();
  for (let number = 0; number < frames; number++) {
    if (document.hidden) throw new Error("The film was recorded too slowly, since the page was out of view: try again.");
    draw(number);
    (track.requestFrame ? track : stream).requestFrame(); // Firefox has it on the stream
    tell(number / frames);
    await new Promise((resolve) => setTimeout(resolve, 1000 / FRAMES_PER_SECOND));
  }
  recorder.stop();
  await ended;
  track.stop();
  return { blob: new Blob(parts, { type: kind }), suffix: KINDS[kind] };
}
