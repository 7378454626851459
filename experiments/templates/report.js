"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const chart = document.getElementById("curve-chart");
  const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "x", "cross", "triangle-down", "star"];
  const TIME = `(${data.time.unit})`;
  const AXES = {
    steps: { title: "Training steps in the target", steps: true },
    steps_with_source: { title: "Training steps, the source's counted in", steps: true },
    seconds: { title: `Training wall-clock in the target ${TIME}` },
    seconds_with_source: { title: `Training wall-clock, the source's counted in ${TIME}` },
  };
  const CAMERA = {
    name: "image", title: "Save as PNG, with a legend", icon: Plotly.Icons.camera,
    click: (graph) => Plotly.downloadImage(withLegend(graph), { format: "png", filename: document.title.replaceAll(/\W+/g, "-"), width: 1200, height: 700, scale: 2 }),
  };
  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtons: [[CAMERA, "zoom2d", "pan2d", "resetScale2d"]] };
  const state = { axis: "steps", aggregate: "iqm", bands: true, seeds: false, hidden: new Set() };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faded = (hex, alpha) =>
    `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},${alpha})`;

  /** The figure as it is saved: on a background of its own, with the arms named inside. */
  const withLegend = (graph) => ({
    data: graph.data,
    layout: { ...graph.layout, width: undefined, height: undefined, showlegend: true, legend: { orientation: "h", y: 1.1 }, margin: { l: 80, r: 40, t: 70, b: 70 }, paper_bgcolor: colour("--card") },
  });

  /** Position of evaluations on the chosen axis; `trial` is an arm or one of its curves. */
  function positions(trial, steps) {
    switch (state.axis) {
      case "steps": return steps;
      case "steps_with_source": return steps.map((step) => step + trial.source_steps);
      case "seconds": return trial.seconds.map((s) => s / data.time.scale);
      default: return trial.seconds.map((s) => (s + trial.source_seconds) / data.time.scale);
    }
  }

  /** Where lines end on the chosen axis: up to there a policy that doesn't train is drawn. */
  function end() {
    const trained = data.arms.filter((arm) => !arm.constant && arm.bands.iqm);
    return Math.max(...trained.map((arm) => Math.max(...positions(arm, data.steps))), 0);
  }

  /** A constant arm is held from where it is available to the end of the axis. */
  function held(arm) {
    const first = { steps: 0, seconds: 0, steps_with_source: arm.source_steps }[state.axis];
    const start = first ?? arm.source_seconds / data.time.scale;
    const last = Math.max(end(), start), n = data.steps.length;
    return data.steps.map((_, i) => (n > 1 ? start + ((last - start) * i) / (n - 1) : start));
  }

  function traces() {
    const bands = [], seeds = [], lines = [];
    for (const arm of data.arms) {
      const ink = colour(`--arm-${arm.index}`), shown = !state.hidden.has(arm.name);
      for (const curve of arm.curves) {
        const only = !arm.bands.iqm; // nothing to aggregate: its seeds are all there is
        const flat = curve.constant;
        const x = flat ? held(arm) : positions(curve, curve.steps);
        seeds.push({
          type: "scatter", mode: "lines", name: `${arm.name}, seed ${curve.seed}`,
          x, y: flat ? x.map(() => curve.returns[0]) : curve.returns,
          line: { color: faded(ink, only ? 0.9 : 0.42), width: 1.1, dash: curve.complete ? "solid" : "dot" },
          hovertemplate: "%{y:,.4~g}<extra>%{fullData.name}</extra>",
          visible: shown && (state.seeds || only), showlegend: only, meta: { arm: arm.name, role: "seed" },
        });
      }
      const band = arm.bands[state.aggregate];
      if (!band) continue;
      const x = arm.constant ? held(arm) : positions(arm, data.steps);
      bands.push({
        type: "scatter", mode: "lines", name: arm.name, hoverinfo: "skip", fill: "toself",
        x: [...x, ...[...x].reverse()], y: [...band.high, ...[...band.low].reverse()],
        fillcolor: faded(ink, 0.15), line: { width: 0 },
        visible: shown && state.bands && band.low[0] !== null, showlegend: false, meta: { arm: arm.name, role: "band" },
      });
      lines.push({
        type: "scatter", mode: arm.constant ? "lines" : "lines+markers", name: arm.name, x, y: band.centre,
        line: { color: ink, width: 2.6, dash: arm.constant ? "dash" : "solid" },
        marker: { symbol: SYMBOLS[arm.index], size: 6.5, color: ink },
        hovertemplate: "%{y:,.4~g}<extra>%{fullData.name}</extra>",
        visible: shown, meta: { arm: arm.name, role: "line" },
      });
    }
    return [...bands, ...seeds, ...lines];
  }

  function layout(title, steps, yTitle) {
    const text = colour("--text"), grid = colour("--line"), narrow = window.innerWidth < 760;
    const axis = { gridcolor: grid, zeroline: false, linecolor: grid, automargin: true, tickfont: { size: 12 } };
    return {
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: text },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: text },
      margin: narrow ? { l: 48, r: 24, t: 26, b: 50 } : { l: 68, r: 34, t: 30, b: 58 },
      hovermode: "x unified", hoverlabel: { bgcolor: colour("--card"), bordercolor: grid, font: { color: text } },
      xaxis: { ...axis, title: { text: title, standoff: 12 }, tickformat: steps ? "~s" : undefined, hoverformat: steps ? ",.0f" : ".1f" },
      yaxis: { ...axis, title: { text: narrow ? "" : yTitle, standoff: 10 }, tickformat: ",~r" },
    };
  }

  function draw() {
    const axis = AXES[state.axis], frame = layout(axis.title, axis.steps, "Return in the target");
    if (data.threshold !== null) {
      const ink = colour("--muted");
      frame.shapes = [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: data.threshold, y1: data.threshold, line: { color: ink, width: 1.4, dash: "dot" } }];
      frame.annotations = [{ xref: "paper", x: 1.004, xanchor: "left", y: data.threshold, yanchor: "middle", showarrow: false, font: { size: 15, color: ink }, text: "θ" }];
    }
    return Plotly.react(chart, traces(), frame, CONFIG);
  }

  function drawSources() {
    const target = document.getElementById("source-chart");
    const lines = data.source_curves.map((curve, i) => ({
      type: "scatter", mode: "lines", name: `seed ${curve.seed}`, x: curve.steps, y: curve.returns,
      line: { color: colour(`--arm-${1 + (i % 7)}`), width: 2 }, hovertemplate: "%{y:,.4~g}<extra>%{fullData.name}</extra>",
    }));
    Plotly.react(target, lines, layout("Training steps in the source", true, "Return in the source"), { ...CONFIG, displayModeBar: false });
  }

  for (const box of document.querySelectorAll("input[data-arm]")) {
    box.addEventListener("change", () => {
      state.hidden[box.checked ? "delete" : "add"](box.dataset.arm);
      draw();
    });
  }
  for (const name of ["axis", "aggregate"]) {
    for (const radio of document.querySelectorAll(`input[name=${name}]`)) {
      radio.addEventListener("change", () => { state[name] = radio.value; draw(); });
    }
  }
  for (const what of ["bands", "seeds"]) {
    document.getElementById(`show-${what}`).addEventListener("change", (event) => {
      state[what] = event.target.checked;
      draw();
    });
  }
  const panel = document.getElementById("source-panel");
  if (panel) panel.addEventListener("toggle", () => { if (panel.open) drawSources(); });

  const redraw = () => { draw(); if (panel && panel.open) drawSources(); };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.matchMedia("(max-width: 760px)").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    for (const details of document.querySelectorAll("details.panel")) details.open = true;
    redraw();
  });
  window.addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; redraw(); });
  draw();
})();
