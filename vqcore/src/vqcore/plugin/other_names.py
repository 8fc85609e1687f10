"""What other libraries call a setting, an option or a component, for hints in messages."""

from __future__ import annotations

#: Names elsewhere, by our name; words are joined by underscores.
ELSEWHERE = {
    "schedule": "scheduler lr_schedule lr_scheduler lr_scheduler_type learning_rate_schedule",
    "warmup_steps": "warmup warmup_iters lr_warmup lr_warmup_steps num_warmup_steps",
    "quantize_start": "skip_iters",
    "grad_clip": "clip clip_grad clip_grad_norm clip_norm clipping gradient_clip gradient_clipping "
    "gradient_clip_val max_grad_norm max_norm",
    "lr": "learning_rate base_lr base_learning_rate",
    "weight_decay": "wd",
    "batch_size": "bs batch train_batch_size global_batch_size per_device_train_batch_size",
    "accumulate": "grad_accum accum_iter accumulation_steps gradient_accumulation "
    "gradient_accumulation_steps accumulate_grad_batches",
    "epochs": "num_epochs n_epochs max_epochs num_train_epochs",
    "max_steps": "steps num_steps n_steps iters iterations max_iters max_iterations num_iterations "
    "train_steps max_train_steps num_train_steps",
    "seed": "random_seed random_state manual_seed",
    "codebook_size": "k codes num_codes n_codes num_embeddings n_embeddings n_embed n_e vocab_size "
    "num_tokens n_tokens num_codebook_vectors",
    "dim": "embedding_dim embed_dim latent_dim e_dim z_dim z_channels",
    "code_dim": "codebook_dim codebook_embed_dim",
    "kl_weight": "kl kl_beta",
    "commitment_weight": "beta commitment commitment_cost commitment_beta commitment_loss "
    "commitment_loss_weight commit_loss_beta commit_weight vq_beta",
    "decay": "ema_decay gamma",
    "dead_code_threshold": "threshold_ema_dead_code",
    "dead_codes": "restart restart_unused_codes",
    "init": "kmeans kmeans_init",
    "stages": "num_quantizers n_q num_stages num_codebooks",
    "groups": "num_groups num_codebooks heads",
    "hidden": "ch channels width hidden_dim hidden_channels hidden_size n_hiddens num_hiddens",
    "residual_blocks": "num_res_blocks n_res_block num_residual_layers n_residual_layers",
    "residual_hidden": "n_res_channel num_residual_hiddens n_residual_hiddens",
    "downsamplings": "f downsample downsample_factor",
    "channels": "ch base_channels",
    "multipliers": "ch_mult ch_mults channel_mult channel_multipliers dim_mults",
    "blocks": "num_res_blocks layers_per_block",
    "attention": "attn_resolutions attention_resolutions",
    "checkpointing": "activation_checkpointing grad_checkpointing gradient_checkpointing "
    "use_checkpoint",
    "temperature": "temp tau",
    "root": "data data_dir data_path data_root dataset_path data_folder folder train_dir path",
    "image_size": "resolution img_size crop_size size",
    "workers": "num_workers n_workers dataloader_num_workers",
    "held_out": "val_split val_fraction test_size",
    "flip": "hflip horizontal_flip random_flip",
    "dataset": "data data_set",
    "backbone": "model arch architecture network encoder decoder",
    "optimizer": "opt optim",
    "quantizer": "quantiser quantization vq_type",
    "estimator": "gradient_estimator",
    "regularizers": "reg regularization",
    "losses": "criterion loss_fn loss_type recon_loss rec_loss reconstruction_loss",
    "mse": "l2 l2_loss mse_loss",
    "l1": "mae l1_loss pixel_loss",
    "bernoulli": "bce bce_loss binary_cross_entropy",
    "perceptual": "lpips lpips_loss perceptual_loss vgg",
    "adversarial": "disc discriminator gan gan_loss patchgan",
    "ssim": "dssim ssim_loss",
    "spectral": "stft stft_loss multi_scale_stft spectral_loss",
    "precision": "amp dtype mixed_precision fp16 bf16 half double fp64",
    "compile": "torch_compile",
    "cuda_graph": "cudagraph cudagraphs cuda_graphs",
    "device": "gpu cuda accelerator",
    "log_every": "log_interval log_freq log_steps logging_steps log_every_n_steps print_freq",
    "eval_every": "eval_interval eval_freq eval_steps val_every val_interval val_check_interval",
    "sample_every": "sample_interval image_every vis_every",
    "checkpoint_every": "save_every save_interval save_freq save_steps ckpt_every",
    "keep_checkpoints": "save_total_limit save_top_k max_checkpoints",
    "trackers": "logger log_with report_to wandb tensorboard",
    "run_dir": "out out_dir outdir output output_dir logdir log_dir logging_dir save_dir save_path "
    "results_dir checkpoint_dir ckpt_dir work_dir exp_dir exp_name experiment run_name",
    "resume": "ckpt ckpt_path checkpoint resume_from resume_from_checkpoint resume_path restore",
    "config": "cfg config_file config_path",
    "dry_run": "check validate",
    "weight_ema": "ema ema_model use_ema model_ema ema_weights",
    "straight-through": "ste straight_through",
    "rotation": "rotation_trick",
    "diveq": "directional_reparam",
    "simvq": "sim_vq",
    "index-backpropagation": "ibq index_backpropagation",
    "residual": "rvq residual_vq",
    "grouped": "gvq product_quantization pq",
    "codebook": "vq vanilla",
}
_OURS: dict[str, list[str]] = {}
for _name, _others in ELSEWHERE.items():
    for _other in _others.split():
        _OURS.setdefault(_other, []).append(_name)


def our_names(name: str) -> list[str]:
    """What something is called here that another library calls ``name``; empty if unknown."""
    return _OURS.get(name.strip("-").replace("-", "_").lower(), [])
