
// panels.js: the first six panels. Each takes what `evaluated` gives, draws, and says one sentence.

function drawHero({ state, names, v, best, n, y, K }) {
  const soft = v.target[n], hard = v.one_hot[n], g = best.optimum_gap, among = DATA.families[state.family].all ? `all ${K} classes` : `the ${K - 1} wrong classes`;
  const takes = ["It takes a share ", strong(`ε = ${trim(state.eps, 4)}`), ` of the label away and deals it out among ${among}. `];
  const becomes = ["The target for ", strong(names[y]), " becomes ", strong(trim(soft[y], 4)), " instead of 1, and the loss no longer asks for endless certainty: "];
  if (state.eps === 0) say("thesis", "At ", strong("ε = 0"), " nothing is smoothed: the target for ", strong(names[y]), " is 1, and the loss asks for endless certainty. Move the slider to see what changes.");
  else if (state.predict) say("thesis", ...takes, "What becomes of the target for ", strong(names[y]), ", and of what the loss asks for? Say first, then look.");
  else if (g > 0) say("thesis", ...takes, ...becomes, "it is content when that logit leads by ", strong(number(g, 2)), ".");
  else say("thesis", ...takes, ...becomes, "so large an ε no longer prefers the label at all.");
  byId("fig-hero").hidden = state.predict;
  figure("hero", 206, "thesis", (svg, W) => {
    const gap = 40, half = (W - gap) / 2, base = 162, tall = 118;
    [[hard, "Without smoothing", "∞", 0], [soft, `With ε = ${trim(state.eps, 4)}`, number(best.optimum_gap, 2), half + gap]].forEach(([values, title, lead, left], side) => {
      const grid = columns(half, K);
      svg.append(text(left, 14, title, "strong", "start"));
      values.forEach((q, k) => {
        const x = left + grid.at(k) - grid.pitch * 0.38, width = grid.pitch * 0.76, own = k === y ? "label" : "noise";
        svg.append(rect(x, base - q * tall, width, q * tall, own, { "data-k": k }));
        if (k === y || (grid.pitch >= 30 && side)) svg.append(text(left + grid.at(k), base - q * tall - 6, trim(q, grid.pitch < 36 ? 2 : 3), k === y ? "strong" : "soft small"));
        if (grid.pitch >= 44 || k === y) svg.append(text(left + grid.at(k), base + 16, short(names[k], Math.max(k === y ? 9 : 0, Math.floor(grid.pitch / 6.6))), k === y ? "strong" : "soft small"));
      });
      svg.append(line(left, base, left + half, base, "axis"), text(left, base + 38, W < 400 ? `lead wanted: ${lead}` : `wants this logit to lead by ${lead}`, "", "start"));
    });
    svg.append(text(half + gap / 2, 104, "→", "strong"));
  });
}

function drawPrediction({ state, names, v, hot, n, y, K }) {
  const p = hot.heated_softmax[n], q = v.target[n], top = p.indexOf(Math.max(...p));
  const gap = hot.heated_gap[n][y];
  say("says-prediction", "For ", strong(names[y]), " the model says ", strong(number(p[y])), ` and the target asks for `, strong(number(q[y])), gap > 0 ? ": too sure, by " : ": short, by ", strong(number(Math.abs(gap))), ".",
    top === y ? "" : ` It would say ${names[top]}.`, state.temperature === 1 ? "" : ` At T = ${trim(state.temperature, 2)}.`);
  figure("prediction", 226, "says-prediction", (svg, W) => {
    const left = 24, grid = columns(W, K, left), base = 160, tall = 140;
    for (const at of [0.5, 1]) svg.append(line(left, base - at * tall, W, base - at * tall, "grid"), text(left - 4, base - at * tall + 4, at, "soft small", "end"));
    p.forEach((one, k) => {
      const x = grid.at(k), wide = grid.pitch * 0.5, low = Math.min(one, q[k]), high = Math.max(one, q[k]);
      svg.append(rect(x - wide / 2, base - one * tall, wide, one * tall, "model", { "data-k": k }), rect(x - wide / 2, base - high * tall, wide, (high - low) * tall, "hatch"));
      svg.append(rect(x - wide * 0.75, base - q[k] * tall, wide * 1.5, q[k] * tall, "frame", { "data-k": k }));
      if (grid.pitch >= 34) svg.append(text(x, base + 36, number(one), "model small"), text(x, base + 54, number(q[k]), "label small"));
    });
    nameColumns(svg, grid, names, base + 18, y);
    svg.append(line(left, base, W, base, "axis"));
    if (grid.pitch >= 34) svg.append(text(0, base + 36, "p", "model strong", "start"), text(0, base + 54, "q′", "label strong", "start"));
    else svg.append(text(left, base + 42, `■ p, the prediction: ${number(p[y])} for ${short(names[y], 12)}`, "model", "start"), text(left, base + 60, `□ q′, the target: ${number(q[y])}`, "label", "start"));
  });
}

function drawTarget({ state, names, v, best, n, y, K }) {
  const q = v.target[n], all = DATA.families[state.family].all, others = all ? K : K - 1;
  if (state.eps === 0) say("says-target", "At ", strong("ε = 0"), " nothing is dealt out: the target is the label itself, 1 for ", strong(names[y]), " and 0 for the others.");
  else say("says-target", strong(names[y]), " keeps ", strong(trim(best.kept, 4)), all ? ", and one of the " : "; none of the ", strong(`${others} parts`), ` of ${trim(best.off, 4)} `, all ? "comes back to it: its target is " : "comes back to it: its target is ", strong(trim(q[y], 4)), ", and the other classes’ ", strong(trim(best.off, 4)), " each.");
  figure("target", 256, "says-target", (svg, W) => {
    const grid = columns(W, K), base = 150, tall = 122;
    q.forEach((one, k) => {
      const x = grid.at(k), wide = grid.pitch * 0.6;
      svg.append(rect(x - wide / 2, base - v.one_hot[n][k] * tall, wide, v.one_hot[n][k] * tall, "empty"));
      const back = k === y ? (all ? best.off : 0) : one, own = one - back;
      svg.append(rect(x - wide / 2, base - own * tall, wide, own * tall, "label", { "data-k": k }), rect(x - wide / 2, base - one * tall, wide, back * tall, "noise", { "data-k": k }));
      if (grid.roomy || k === y) svg.append(text(x, base - Math.max(one, v.one_hot[n][k]) * tall - 6, trim(one, K > 9 ? 3 : 4), k === y ? "strong" : "soft"));
    });
    nameColumns(svg, grid, names, base + 18, y);
    svg.append(line(0, base, W, base, "axis"));
    const right = grid.at(y) < W / 2, x = grid.at(y), height = base - best.kept * tall;
    if (all && state.eps > 0 && state.eps < 0.75) {
      svg.append(line(x - grid.pitch * 0.4, height, right ? x + grid.pitch * 0.5 + 8 : x - grid.pitch * 0.5 - 8, height, "ghost"));
      svg.append(text(right ? x + grid.pitch * 0.5 + 12 : x - grid.pitch * 0.5 - 12, height + 17, `1 − ε = ${trim(best.kept, 4)} is not its target`, "soft small", right ? "start" : "end"));
    }
    const top = 198;
    svg.append(text(0, top - 5, `■ stays ${trim(best.kept, 4)}`, "label strong", "start"), text(W, top - 5, `■ ε = ${trim(best.spread_mass, 4)} in ${others} parts`, "noise strong", "end"));
    svg.append(rect(0, top, best.kept * W, 18, "label"));
    const part = (best.spread_mass * W) / others, seam = Math.min(1.5, part * 0.2);
    for (let k = 0, at = 0; k < K; k++) {
      if (!all && k === y) continue;
      const from = best.kept * W + at++ * part;
      svg.append(rect(from + seam, top, part - seam, 18, "noise", { "data-k": k }));
      if (all && k === y && state.eps > 0) svg.append(text(Math.min(Math.max(from + part / 2, 60), W - 60), top + 36, `↑ back to ${short(names[y], 12)}`, "soft small"), rect(from + seam, top, part - seam, 18, "hatch"));
    }
  });
}

function drawLoss({ state, names, preset, v, n, y, K }) {
  const whole = v.row_loss[n], a = v.label_term[n], b = v.prior_term[n], floor = Array.isArray(v.row_floor) ? v.row_floor[n] : v.row_floor, excess = v.row_excess[n], plain = v.label_loss[n];
  say("says-loss", "This row’s loss is ", strong(number(whole, 4)), ", without smoothing ", strong(number(plain, 4)), ". Of it ", strong(number(floor, 4)), " no prediction can take away; ", strong(number(Math.abs(excess), 4)), " can still be gained.");
  figure("loss", 150, "says-loss", (svg, W) => {
    const scale = (x) => (x / Math.max(whole, plain, 1e-9)) * (W - 2), narrow = W < 540;
    stacked(svg, 14, scale, [[narrow ? "plain: " : "Without smoothing, −ln p of the label: "], [number(plain, 4), "strong"]], [[plain, "model"]]);
    stacked(svg, 64, scale, [[narrow ? "" : "Who asks:  "], [`■ ${narrow ? "label" : "(1−ε)·H(q,p)"} ${number(a, 4)}`, "label"], [" + "], [`▨ ${narrow ? "ε’s share" : `ε·H(${DATA.families[state.family].all ? "u" : "v"},p)`} ${number(b, 4)}`, "noise"], [narrow ? "" : ` = ${number(whole, 4)}`]], [[a, "label"], [b, "noise", true]]);
    stacked(svg, 114, scale, [[narrow ? "" : "What can be gained:  "], [narrow ? `□ floor ${number(floor, 4)}` : `□ the floor H(q′) ${number(floor, 4)}`], [" + "], [`■ ${narrow ? "the rest" : "KL(q′‖p)"} ${number(Math.abs(excess), 4)}`, "model"]], [[floor, "empty"], [Math.max(0, excess), "model"]]);
  });
  const value = { target: v.target[n][y], softmax: v.softmax[n][y], log_softmax: v.log_softmax[n][y], row_loss: whole, loss: v.loss, gradient: v.gradient[n][y] };
  const untouched = state.classes === preset.classes.length && Object.keys(preset.sheet).length > 0 && state.family === DATA.family && y === preset.labels[state.row];
  for (const line of byId("notations").rows) {
    const word = line.dataset.word, [cell, formula] = untouched ? preset.sheet[word]?.[state.row] ?? ["", ""] : ["", ""];
    const torch = word === "target" ? DATA.families[state.family].target : DATA.torch[word];
    if (line.cells.length === 2) for (let i = 0; i < 3; i++) line.append(make("td"));
    line.cells[2].replaceChildren(formula ? make("code", {}, `${cell}: =${formula}`) : "");
    line.cells[3].replaceChildren(make("code", {}, torch));
    line.cells[4].replaceChildren(make("strong", {}, number(value[word], 4)));
  }
  say("where", `“Here” is ${preset.rows[state.row]} and the class ${names[y]}; the batch is the rows of panel 1.`, untouched ? " The cells are those of the workbook that labelsmooth writes of these data, on its sheet Steps." : "");
  if (v.uniform_excess) say("says-uniform", `H(u,p) = KL(u‖p) + ln K: here ${number(v.prior_loss[n], 4)} = ${number(v.uniform_excess[n], 4)} + ln ${K}. So the second share asks for one thing alone: be less far from uniform.`);
  else say("says-uniform", "");
}

function drawPush({ state, names, v, best, n, y, K }) {
  const push = v.push[n], plain = v.plain_push[n], p = v.softmax[n][y];
  const name = names[y], still = Math.abs(push[y]) < 5e-4;
  say("says-push", strong(name), " is pushed ", strong(still ? "nowhere" : push[y] > 0 ? `up, by ${number(push[y])}` : `down, by ${number(-push[y])}`), `: p = ${number(p)} is ${still ? "at" : push[y] > 0 ? "below" : "above"} the target `, strong(number(best.on)), ". ",
    state.eps > 0 ? `There the push turns round; without smoothing it would be up for ever, here by ${number(plain[y])}.` : "Without smoothing it never turns round.");
  figure("push", 250, "says-push", (svg, W) => {
    const grid = columns(W, K), mid = 98, reach = 60, most = Math.max(0.02, ...push.map(Math.abs), ...plain.map(Math.abs)), half = Math.min(5, grid.pitch * 0.12);
    push.forEach((d, k) => {
      const x = grid.at(k), to = mid - (d / most) * reach;
      if (grid.pitch >= 16) svg.append(arrow(x + grid.pitch * 0.24, mid, mid - (plain[k] / most) * reach, half * 0.7, "empty"));
      svg.append(arrow(x - (grid.pitch >= 16 ? grid.pitch * 0.1 : 0), mid, to, half, k === y ? "label" : "model", { "data-k": k }));
      if (grid.pitch >= 40) svg.append(text(x - grid.pitch * 0.1, d >= 0 ? to - 5 : to + 14, signed(d), "small"));
    });
    svg.append(line(0, mid, W, mid, "axis"));
    nameColumns(svg, grid, names, 190, y);
    if (grid.roomy) svg.append(text(W, 10, "dashed: without smoothing", "soft small", "end"));
    const at = (x) => 6 + x * (W - 12), low = 228;
    svg.append(line(at(0), low, at(1), low, "axis"), line(at(best.on), low - 11, at(best.on), low + 6, "line-label"));
    svg.append(text(at(best.on), low + 20, `turns at ${number(best.on)}`, "label small", best.on > 0.7 ? "end" : best.on < 0.3 ? "start" : "middle"));
    svg.append(make("circle", { cx: at(p), cy: low, r: 5.5, class: "model" }), text(at(p), low - 11, `p ${number(p)}`, "model small", p > 0.85 ? "end" : p < 0.15 ? "start" : "middle"));
    svg.append(best.on < 0.3 ? "" : text(at(0), low + 20, "0", "soft small", "start"), best.on > 0.7 ? "" : text(at(1), low + 20, "1", "soft small", "end"));
  });
  byId("logit-name").replaceChildren("Logit of ", name);
  const slider = byId("logit"), z = v.logits[n][y];
  slider.min = Math.min(-5, Math.floor(z)); slider.max = Math.max(15, Math.ceil(z)); slider.value = z;
  slider.setAttribute("aria-valuetext", `${number(z, 2)}, push ${signed(push[y])}`);
  byId("logit-out").textContent = number(z, 2);
}

const curve = (state, K, eps) => Array.from({ length: 141 }, (_, i) => {
  const gap = GAPS[0] + (i / 140) * (GAPS[1] - GAPS[0]);
  return [gap, core.alongGap[state.family]({ gap, epsilon: eps, n_classes: K }).curve_loss];
});

function drawStop({ state, names, best, y, K }) {
  const g = best.optimum_gap, floor = core.alongGap[state.family]({ gap: g, epsilon: state.eps, n_classes: K }).curve_loss;
  if (g === Infinity) say("says-stop", "At ε = 0 the loss has ", strong("no bottom"), ": it falls for ever as the lead grows.");
  else if (g <= 0) say("says-stop", "With ", strong(`ε = ${trim(state.eps, 4)}`), ` and ${K} classes the loss is lowest at a lead of `, strong(`g* = ${number(g)}`), ": so large an ε wants the label no likelier than the others.");
  else say("says-stop", "With ", strong(`ε = ${trim(state.eps, 4)}`), ` and ${K} classes the loss stops asking at a lead of `, strong(`g* = ${number(g)}`), ", where ", names[y], " has p = ", strong(number(best.on)), ". Beyond it, being surer costs.");
  figure("stop", 236, "says-stop", (svg, W) => {
    const smooth = curve(state, K, state.eps), hard = curve(state, K, 0), left = 26, base = 200;
    const top = Math.max(1, hard[0][1], smooth[0][1], smooth.at(-1)[1]) * 1.05;
    const x = (gap) => left + ((gap - GAPS[0]) / (GAPS[1] - GAPS[0])) * (W - left), h = (loss) => base - (Math.min(loss, top) / top) * (base - 14);
    for (let at = GAPS[0]; at <= GAPS[1]; at += 2) svg.append(line(x(at), base, x(at), 10, "grid"), text(x(at), base + 16, minus(String(at)), "soft small", at === GAPS[1] ? "end" : "middle"));
    svg.append(line(left, base, W, base, "axis"), text(left - 4, 18, number(top, 1), "soft small", "end"), text(left - 4, base + 4, "0", "soft small", "end"), text(W, base + 32, "lead g of the right logit →", "soft small", "end"), text(left + 4, 12, "loss, nats", "soft small", "start"));
    svg.append(path(hard.map(([a, b]) => [x(a), h(b)]), "line-model"), path(smooth.map(([a, b]) => [x(a), h(b)]), "line-label"));
    svg.append(text(W - 2, h(hard[140][1]) - 8, "ε = 0: falls for ever", "model", "end"));
    if (state.eps > 0) svg.append(text(W - 2, Math.max(24, h(smooth[140][1]) - 9), `ε = ${trim(state.eps, 4)}`, "label strong", "end"));
    if (g <= GAPS[1] && g >= GAPS[0]) svg.append(line(x(g), base, x(g), h(floor), "ghost"), make("circle", { cx: x(g), cy: h(floor), r: 6, class: "label" }), text(x(g), h(floor) - 13, `g* = ${number(g, 2)}`, "strong", x(g) > W - 60 ? "end" : "middle"));
    else svg.append(text(W - 2, base - 42, g === Infinity ? "the bottom lies at infinity →" : g < 0 ? `the bottom lies at ${number(g, 1)}, to the left` : `the bottom lies at ${number(g, 1)} →`, "strong", "end"));
  });
  const many = [2, 5, 10, 100, 1000], gaps = many.map((classes) => core.optimum[state.family]({ epsilon: state.eps, n_classes: classes }).optimum_gap);
  const stops = byId("stops"), caption = stops.caption;
  stops.replaceChildren(caption, make("thead", {}, make("tr", {}, make("th", { scope: "row" }, "K"), ...many.map((k) => make("th", { scope: "col" }, k)))),
    make("tbody", {}, make("tr", {}, make("th", { scope: "row" }, "g*"), ...gaps.map((gap) => make("td", {}, number(gap))))));
}
