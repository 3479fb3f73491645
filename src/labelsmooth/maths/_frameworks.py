"""What one function of one framework does, a row each: the data behind `conventions.CONVENTIONS`.

Plain strings, so that a row can be checked against the source it names without knowing this package. A row is there
only if the code was read, or run, at the version it names. A bare framework is its newest convention; an older one
carries the last version it holds for. Of several functions of one framework, the first is what the bare name means.

The columns are those of `conventions.Convention`: name, function, family, divergence, weighting, versions (a year and
month, or a commit, where the code was read between releases), source, note.
"""

from __future__ import annotations

Row = tuple[str, str, str, str, str, str, str, str]

_FAIRSEQ = "facebookresearch/fairseq: fairseq/criterions/label_smoothed_cross_entropy.py"
_OPENNMT = "OpenNMT/OpenNMT-py: onmt/utils/loss.py"
_T2T = "tensorflow/tensor2tensor: tensor2tensor/layers/common_layers.py"
_MMPRETRAIN = "open-mmlab/mmpretrain: mmpretrain/models/losses/label_smooth_loss.py"
_MMCLS = "open-mmlab/mmpretrain: mmcls/models/losses/label_smooth_loss.py"
_KERAS = "keras-team/keras: keras/src/losses/losses.py"
_SPEECHBRAIN = "speechbrain/speechbrain: speechbrain/nnet/losses.py"
_PADDING = "others but padding"

# fmt: off
FRAMEWORKS: tuple[Row, ...] = (
    # Classification
    ("torch", "cross_entropy", "uniform", "ce", "torch", "1.10 to 2.13",
     "pytorch/pytorch: aten/src/ATen/native/LossNLL.cpp",
     "mean over the rows that count, or their labels' weights; soft labels: over all rows, never weights"),
    ("timm", "LabelSmoothingCrossEntropy", "uniform", "ce", "", "2021-09 to 2026-08",
     "huggingface/pytorch-image-models: timm/loss/cross_entropy.py",
     "mean only; BinaryCrossEntropy puts the same two numbers into a binary cross-entropy"),
    ("fastai", "LabelSmoothingCrossEntropy", "uniform", "ce", "nll", "1.0.49 to 2.8.12",
     "fastai/fastai: fastai/losses.py",
     "mean: the label's part over the labels' weights, the rest over N; no ignored rows"),
    ("fastai@1.0.48", "LabelSmoothingCrossEntropy", "others", "ce", "", "1.0.46 to 1.0.48",
     "fastai/fastai1: fastai/layers.py", "mean over N; changed by pull request 1814"),
    ("keras", "CategoricalCrossentropy", "uniform", "ce", "label/N", "3.15.1", _KERAS,
     "class weights arrive as sample weights; mean over N; mean_with_sample_weight (3.7) divides by them"),
    ("keras", "BinaryCrossentropy", "binary", "ce", "", "3.15.1", _KERAS, "mean over the classes, then over N"),
    ("optax", "smooth_labels", "uniform", "ce", "", "2021-03 to 0.2.8",
     "google-deepmind/optax: optax/losses/_smoothing.py", "a target only; a class masked by `where` keeps its share"),
    ("paddle", "cross_entropy", "uniform", "ce", "expected", "3.3.1",
     "PaddlePaddle/Paddle: python/paddle/nn/functional/loss.py",
     "mean over the expected weights, the labels' at ε = 0; a row with ignore_index ≥ 0 still counts"),
    ("paddle", "label_smooth", "uniform", "ce", "", "3.3.1",
     "PaddlePaddle/Paddle: python/paddle/nn/functional/common.py", "a target only; takes a prior"),
    ("mlx", "cross_entropy", "uniform", "ce", "", "0.32.4", "ml-explore/mlx: python/mlx/nn/losses.py",
     "no reduction by default; weights are one a row"),
    ("mindspore@2020", "SoftmaxCrossEntropyWithLogits", "others", "ce", "", "2020-08",
     "mindspore-ai/mindspore: mindspore/nn/loss/loss.py",
     "smooth_factor, since removed; read in issue 73 and in a test that keeps the two lines"),
    # Vision
    ("mmpretrain", "LabelSmoothLoss", "uniform", "ce", "class/N", "0.13.0, as mmcls", _MMPRETRAIN,
     "mode 'original', the default; mean over N or avg_factor"),
    ("mmpretrain", "LabelSmoothLoss(classy_vision)", "renormalised", "ce", "class/N", "0.13.0, as mmcls", _MMPRETRAIN,
     "mean over N or avg_factor"),
    ("mmpretrain", "LabelSmoothLoss(multi_label)", "multi-label", "ce", "", "0.13.0, as mmcls", _MMPRETRAIN,
     "mean over N·K; any label above 0 counts as yes"),
    ("mmcls@0.12", "LabelSmoothLoss", "renormalised", "ce", "", "0.11.0 to 0.12", _MMCLS, "the only formula then"),
    ("mmcls@0.10", "LabelSmoothLoss", "uniform", "ce", "", "2020-07 to 0.10", _MMCLS, "its mean is a sum"),
    ("classy_vision", "label_smoothing_cross_entropy", "renormalised", "ce", "", "2019 to commit 08a82e8",
     "facebookresearch/ClassyVision: classy_vision/losses/label_smoothing_loss.py",
     "an ignored row becomes uniform and still counts; divisors carry a float32 epsilon of 1.2e-7"),
    ("coincheung", "LabelSmoothSoftmaxCEV1", "unnormalised", "ce", "", "2024-10",
     "CoinCheung/pytorch-loss: pytorch_loss/label_smooth.py", "V2 and V3 alike; mean over the rows that count"),
    ("super_gradients", "cross_entropy", "uniform", "ce", "class/N", "2024-09",
     "Deci-AI/super-gradients: src/super_gradients/training/losses/label_smoothing_cross_entropy_loss.py",
     "takes a prior, smooth_dist; at ε = 0 the weights are class/label"),
    # Translation and language
    ("transformers", "LabelSmoother", "uniform", "ce", "", "5.23.0",
     "huggingface/transformers: src/transformers/trainer_pt_utils.py",
     "mean over the tokens that are not -100; other negative labels become class 0"),
    ("fairseq", "label_smoothed_nll_loss", "others", "ce", "", "0.11.1 to 0.12.2", _FAIRSEQ,
     "a sum, which the trainer divides by tokens or sentences; logged in bits, divided by ln 2"),
    ("fairseq@0.10", "label_smoothed_nll_loss", "uniform", "ce", "", "0.4.0 to 0.10.2", _FAIRSEQ,
     "a sum, logged in bits; changed by pull request 3182"),
    ("fairseq@0.3", "LabelSmoothedNLLLoss", "1/(K−1) for 1/K", "ce", "", "0.3.0", _FAIRSEQ, "a sum"),
    ("fairseq2", "cross_entropy", "others", "ce", "", "2026-04",
     "facebookresearch/fairseq2: src/fairseq2/nn/functional/cross_entropy.py",
     "a sum by default; mean over the tokens that are not padding or masked"),
    ("opennmt-py", "CrossEntropyLoss", "uniform", "ce", "", "3.0.3 to 3.5.1", _OPENNMT,
     "a sum, in validation too; not used with copy_attn or sparsemax; padding gets its share"),
    ("opennmt-py@3.0.2", "LabelSmoothingLoss", _PADDING, "kl", "", "0.1 to 3.0.2", _OPENNMT,
     "a sum over the rows that are not padding; training only"),
    ("opennmt-tf", "cross_entropy_loss", "others", "ce", "", "2023-08", "OpenNMT/OpenNMT-tf: opennmt/utils/losses.py",
     "a sum and what to divide it by; training only"),
    ("tensor2tensor", "smoothing_cross_entropy", "others", "kl", "", "1.15.7", _T2T,
     "the entropy is subtracted with 1e-20 inside its logarithm; label 0 is padding"),
    ("tensor2tensor", "smoothing_cross_entropy(gaussian)", "gaussian", "ce", "", "2017-11 to 1.15.7", _T2T,
     "subtracts the entropy of the plain target, not of its own: no KL"),
    ("t5x", "compute_weighted_cross_entropy", "others", "kl", "", "2026-04", "google-research/t5x: t5x/losses.py",
     "a sum, divided by loss_normalizing_factor only; NaN at ε = 1"),
    ("flax", "compute_weighted_cross_entropy", "others", "kl", "", "2026-07", "google/flax: examples/wmt/train.py",
     "a sum and the number of tokens"),
    ("annotated_transformer", "LabelSmoothing", _PADDING, "kl", "", "2022-05",
     "harvardnlp/annotated-transformer: the_annotated_transformer.py", "a sum, divided by the number of tokens"),
    ("joeynmt", "XentLoss", _PADDING, "kl", "", "2019 to 2.3", "joeynmt/joeynmt: joeynmt/loss.py",
     "a sum; plain likelihood at ε = 0"),
    ("marian", "CrossEntropyPick", "uniform", "ce", "", "commit 080f13e7",
     "marian-nmt/marian-dev: src/tensors/cpu/tensor_operators.cpp", "no reduction: the cost layer reduces"),
    ("allennlp", "sequence_cross_entropy_with_logits", "uniform", "ce", "label/N", "commit 80fb6061",
     "allenai/allennlp: allennlp/nn/util.py", "weights are `alpha`; mean of the sequences' means, or over tokens"),
    ("lingvo", "UniformLabelSmoother", "others", "ce", "", "commit e0be5dc4",
     "tensorflow/lingvo: lingvo/core/layers.py",
     "a target only; its docstring says ε/K, its code ε/(K−1)"),
    # Speech
    ("espnet", "LabelSmoothingLoss", "others", "kl", "", "an older text",
     "espnet/espnet: espnet/nets/pytorch_backend/transformer/label_smoothing_loss.py",
     "the sum over the batch size, or over the tokens with normalize_length"),
    ("wenet", "LabelSmoothingLoss", "others", "kl", "", "2025-12",
     "wenet-e2e/wenet: wenet/models/transformer/label_smoothing_loss.py",
     "the sum over the batch size, or over the tokens with normalize_length"),
    ("speechbrain", "nll_loss", "uniform", "ce", "nll/N", "2026-04", _SPEECHBRAIN,
     "mean over the mask, never over weights; bce_loss(label_smoothing) is no smoothing"),
    ("speechbrain", "kldiv_loss", "others", "kl", "", "2026-04", _SPEECHBRAIN,
     "'mean' is the sum; rows of class 0 vanish unless pad_idx says otherwise"),
    ("nemo", "SmoothedCrossEntropyLoss", "others", "ce", "", "commit 008ed952",
     "NVIDIA/NeMo: nemo/collections/common/losses/smoothed_cross_entropy.py", "the sum over the mask's sum plus 1e-6"),
    # Kernels and classes split over ranks
    ("liger", "LigerCrossEntropyLoss", "uniform", "ce", "class/label", "2026-08",
     "linkedin/Liger-Kernel: src/liger_kernel/ops/cross_entropy.py", "mean over the rows that count, or their weights"),
    ("liger", "vocab_parallel_cross_entropy(megatron)", "others", "ce", "", "2026-08",
     "linkedin/Liger-Kernel: src/liger_kernel/ops/vocab_parallel_cross_entropy.py",
     "formula 'pytorch' is uniform, mode 'partition' takes one rank's classes for K; inf if a logit lies 104 below another"),
    ("transformer_engine", "parallel_cross_entropy", "uniform", "ce", "", "2026-08",
     "NVIDIA/TransformerEngine: transformer_engine/common/triton/cross_entropy.py", "no reduction unless reduce_loss"),
    ("flash_attn", "CrossEntropyLoss", "uniform", "ce", "", "2026-08",
     "Dao-AILab/flash-attention: flash_attn/ops/triton/cross_entropy.py",
     "mean over the rows that count; a label out of range leaves only the uniform part"),
    ("apex", "SoftmaxCrossEntropyLoss", "uniform", "ce", "", "2026-07",
     "NVIDIA/apex: apex/contrib/xentropy/softmax_xentropy.py", "no reduction; class 0 is padding by default"),
    ("megatron", "vocab_parallel_cross_entropy", "others", "ce", "", "2022-09 to 2026-08",
     "NVIDIA/Megatron-LM: megatron/core/tensor_parallel/cross_entropy.py",
     "K is the classes of one rank, so this holds on one rank only; no reduction"),
    ("nemo", "vocab_parallel_cross_entropy", "others", "ce", "", "commit 23a46cb7",
     "NVIDIA/NeMo: nemo/collections/nlp/modules/common/megatron/vocab_parallel_cross_entropy.py",
     "K is the classes of one rank; no reduction"),
)
# fmt: on
