"""U-Net++ with deep supervision on the synthetic X-rays. `make train` runs it. It holds every key of a config.

    unet-jax train --config=default --workdir=runs/electrodes

Hardware: two CPU cores, 4 minutes. Score on test, three seeds: pooled IoU anode 0.917 ± 0.003, cathode 0.921 ± 0.003,
mean 0.919 ± 0.001.

A flag sets any key: --config.optim.learning_rate=3e-4. Its type is checked. A recipe of augmentation stands after a colon,
in this config and in every other: default:nnunet. Where a config takes a folder, the recipe comes after the folder:
nuclei:FOLDER:unet. --config.model=unet takes another network (a key of `NETWORKS`) with its default options.

docs/reference/config.md is written from the comments of this file (python docs/generate.py).
"""

from pathlib import Path

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """Returns the default experiment.

    Args:
      arg: what stands after a colon in --config: one of `RECIPES` of augmentation. "" is the default recipe.

    Raises:
      ValueError: `arg` is no recipe.
    """
    if arg not in RECIPES:
        known = ", ".join(filter(None, RECIPES))
        raise ValueError(f"{arg!r} is no recipe of augmentation; known: {known}, or nothing after the colon")
    config = ConfigDict()
    # Seed of initialisation, order of the data, windows, augmentation and dropout.
    config.seed = 0
    # Files that add a network, an encoder, a loss or a data set to the tables, e.g. ("/home/me/my_network.py",). Every
    # program that opens the run executes them first. Where the config file itself adds a row, `unet-jax train` fills this in.
    config.imports = ()
    config.model = unet_pp()
    config.data = electrodes()
    config.augment = RECIPES[arg]()
    config.loss = ConfigDict(
        {
            # Weight of each loss in the sum; 0 leaves the loss out.
            "weights": {
                # Needs activation softmax.
                "cross_entropy": 1.0,
                # Needs activation sigmoid, where each channel is a mask.
                "binary_cross_entropy": 0.0,
                # Cross entropy, binary with sigmoid, weighted by U-Net's map. Needs data.weight_map.
                "weighted_cross_entropy": 0.0,
                # Cross entropy, smaller where the network is sure.
                "focal": 0.0,
                # 1 - Dice, averaged over the classes.
                "dice": 1.0,
                # One Dice of all classes, each weighted by the inverse square of its size.
                "generalised_dice": 0.0,
                # Dice with one weight for false pixels and one for missed pixels.
                "tversky": 0.0,
                # The Tversky loss to the power 1 / gamma.
                "focal_tversky": 0.0,
                # 1 - IoU of each image, made convex: Lovász-softmax, or the Lovász hinge with sigmoid.
                "lovasz": 0.0,
                # The loss of U-Net++. Needs activation sigmoid.
                "bce_dice": 0.0,
            },
            # Options of the losses that have any.
            "options": {
                "weighted_cross_entropy": {
                    # Height of the map, which is added to the class weights.
                    "w0": 10.0,
                },
                "focal": {
                    # Exponent of 1 - p; 0 is the plain cross entropy.
                    "gamma": 2.0,
                },
                "tversky": {
                    # Weight of a false pixel.
                    "alpha": 0.3,
                    # Weight of a missed pixel.
                    "beta": 0.7,
                },
                "focal_tversky": {
                    # Weight of a false pixel.
                    "alpha": 0.3,
                    # Weight of a missed pixel.
                    "beta": 0.7,
                    # The exponent is 1 / gamma.
                    "gamma": 4 / 3,
                },
            },
            # One weight per class; () for equal weights.
            "class_weights": (),
            # Class weights from the training pixels: inverse (1 / frequency, mean 1) or median; "" to use class_weights.
            "class_weighting": "",
            # One weight per head, shallow to deep; () for 1 / number of heads. The U-Net++ paper has 1 each.
            "head_weights": (),
        }
    )
    config.optim = ConfigDict(
        {
            # adamw, adam, sgd, rmsprop or lion.
            "name": "adamw",
            # The highest learning rate.
            "learning_rate": 2e-3,
            # How the rate changes after the warm-up. cosine and poly fall to 0 at the last step. one_cycle rises during the
            # warm-up, then falls nearly to 0. constant, step and plateau (which follows the score on val) ignore the run's length.
            "schedule": "cosine",
            # Length of the warm-up in steps; set the two other units to 0. A warm-up that would not end within the run is
            # shortened to a tenth of the run, and a line says so.
            "warmup_steps": 50,
            # The same in epochs.
            "warmup_epochs": 0.0,
            # The same in examples.
            "warmup_examples": 0,
            # poly: the exponent.
            "power": 0.9,
            # step: when the rate falls, in the unit of the run's length.
            "boundaries": (),
            # step, plateau: factor of the rate when it falls.
            "lr_drop_factor": 0.1,
            # plateau: evaluations in a row without a gain, after which the rate falls.
            "plateau_patience": 3,
            # plateau: smallest gain of IoU over the best score that counts as a gain.
            "plateau_gain": 1e-4,
            # Of kernels only. For adamw and lion it is decoupled. For the others it is an L2 term, added to the gradient
            # before the moments.
            "weight_decay": 1e-4,
            # sgd, rmsprop: momentum; 0 for none. U-Net's authors use sgd with 0.99.
            "momentum": 0.9,
            # sgd, rmsprop: Nesterov's momentum.
            "nesterov": False,
            # adam, adamw, lion: decay of the first moment.
            "b1": 0.9,
            # adam, adamw: decay of the second moment; lion: decay of its momentum (lion's authors use 0.99).
            "b2": 0.999,
            # rmsprop: decay of the mean square.
            "rmsprop_decay": 0.9,
            # adam, adamw, rmsprop: added to the denominator.
            "eps": 1e-8,
            # Largest global norm of the gradient; 0 for no limit.
            "grad_clip": 1.0,
            # Number of micro-batches that the batch of a step is split into. Saves memory. The gradient is the same, except
            # with BatchNorm, which normalises one micro-batch at a time.
            "accumulate": 1,
            # Decay of a moving average of the weights, e.g. 0.999. The average is also scored. 0 for none.
            "ema_decay": 0.0,
            # Patterns of parameters that are not trained, e.g. ("encoder/*",). Their BatchNorm statistics still change.
            "freeze": (),
            # Pairs (pattern, factor of the rate), e.g. (("encoder/*", 0.1),).
            "lr_multipliers": (),
        }
    )
    config.train = ConfigDict(
        {
            # Examples per step, over all devices, processes and micro-batches.
            "batch_size": 8,
            # Length of the run in steps; set the two other units to 0.
            "num_steps": 320,
            # The same in epochs.
            "num_epochs": 0.0,
            # The same in examples.
            "num_examples": 0,
            # Steps between rows of metrics.jsonl. Each checkpoint also ends a row.
            "log_every": 20,
            # Steps between evaluations on val; set the two other units to 0. Each evaluation saves a checkpoint.
            "eval_every": 160,
            # The same in epochs.
            "eval_every_epochs": 0.0,
            # The same in examples.
            "eval_every_examples": 0,
            # Number of evaluations in a row without a better score, after which the run ends early; 0 for never.
            "patience": 0,
            # Also writes WORKDIR/tensorboard: every row, and predictions on val. Needs the extra tensorboard.
            "tensorboard": False,
            # Workdir of another run. This run starts from its best network, parameter by name. "" for none.
            "init_from": "",
        }
    )
    config.eval = ConfigDict(
        {
            # Whole images at a time, over all devices.
            "batch_size": 8,
            # Images are padded by mirroring to multiples of this many pixels.
            "pad_multiple": 64,
            # accurate (mean of the heads' probabilities) or fast (the deepest head).
            "mode": "accurate",
            # Classes whose masks are written. Their mean is the score. () for all except class 0.
            "classes": ("anode", "cathode"),
            # raw, or ema (needs optim.ema_decay): which weights choose the best checkpoint and predict.
            "weights": "raw",
            # The memory that an evaluation may take, such as 2GiB; "" for a quarter of that of the machine or the device.
            "memory": "",
            # Number of overlays written with a score, spread evenly over the split; 0 for all.
            "num_pictures": 12,
        }
    )
    config.checkpoint = ConfigDict(
        {
            # Steps between checkpoints, in addition to those of the evaluations; 0 for none.
            "every": 0,
            # Number of latest checkpoints that are kept. The best on val is always kept.
            "latest": 2,
        }
    )
    return config


def augment() -> ConfigDict:
    """Returns every option of augmentation. A pair is the range of a draw. Grey values change in the order of the keys.

    To see the windows that the network gets: unet-jax preview --config=CONFIG --out=sheet.png
    """
    return ConfigDict(
        {
            # Mirrors left-right and top-bottom, each with probability 1/2.
            "flip": True,
            # Turns by 0, 90, 180 or 270 degrees; by 0 or 180 if the window is not square.
            "quarter_turns": True,
            # Elastic deformation: std in pixels of random displacements on a coarse grid, bicubic between them; 0 for none.
            "elastic": 0.0,
            # Points of that grid along each axis of the window.
            "elastic_grid": 3,
            # Largest rotation in degrees, either way, about the window's centre.
            "rotate": 0.0,
            # Range of the factor; above 1 enlarges. (1/s, s) enlarges as often as it shrinks.
            "scale": (1.0, 1.0),
            # Largest angle in degrees, either way, by which upright lines lean.
            "shear": 0.0,
            # Largest shift in pixels, either way, along each axis.
            "shift": 0.0,
            # linear or cubic: how elastic, rotate, scale, shear and shift read the image. Masks take the nearest pixel.
            "interpolation": "linear",
            # mirror, or void (not valid): the pixels that these five read from outside the window.
            "fill_mode": "mirror",
            # Range of the std of a Gaussian in pixels.
            "blur": (0.0, 0.0),
            # Range of the factor of the image's size. The image is reduced, then enlarged again.
            "low_resolution": (1.0, 1.0),
            # Multiplies grey values by 1 - m .. 1 + m. With data.normalize "image", 0 is the image's mean.
            "multiply": 0.0,
            # Multiplies the distance from the window's mean by 1 - c .. 1 + c.
            "contrast": 0.2,
            # Adds up to this many standard deviations of the image, either way.
            "brightness": 0.1,
            # The same as gamma, on the negative of the image.
            "inverted_gamma": 0.0,
            # Exponent in exp(-g) .. exp(g), on the window's range of grey values.
            "gamma": 0.2,
            # Largest standard deviation of the Gaussian noise that is added.
            "noise": 0.05,
            # Number of rectangles that are set to the window's mean. Their mask stays.
            "cutout": 0,
            # Range of the rectangles' height and width, as fractions of the window's.
            "cutout_size": (0.1, 0.3),
            # True: blur to noise are drawn for each channel anew, for channels that were recorded one by one. False: all
            # channels change alike, as light changes a colour image.
            "per_channel": False,
            # Probability that a window gets the change.
            "probability": {
                "elastic": 1.0,
                "rotate": 1.0,
                "scale": 1.0,
                "shear": 1.0,
                "shift": 1.0,
                "blur": 1.0,
                "low_resolution": 1.0,
                "multiply": 1.0,
                "contrast": 1.0,
                "brightness": 1.0,
                "inverted_gamma": 1.0,
                "gamma": 1.0,
                "noise": 1.0,
                "cutout": 1.0,
            },
        }
    )


def augment_nnunet() -> ConfigDict:
    """Returns nnU-Net's default recipe in 2-D: Isensee et al. (Nature Methods, 2021), values of nnU-Net v2's nnUNetTrainer.

    nnU-Net differs in this. It draws for each channel of an image. Its order is noise, blur, multiply, contrast, low
    resolution, gammas. Contrast clips to the old range, and gamma keeps mean and variance. A warp reads a larger part of the
    image, where ours mirrors the window, and 0 beyond the image. Masks are warped class by class, linearly. Rotation is
    +-15 degrees where the window is more than 1.5 times as long as wide.
    """
    config = augment()
    config.update({"flip": True, "quarter_turns": False, "brightness": 0.0})
    config.rotate = 180.0
    # nnU-Net: a factor of the distances, not of the objects. It is drawn uniformly, here uniformly in its logarithm.
    config.scale = (0.7, 1.4)
    # nnU-Net: drawn for each axis.
    config.blur = (0.5, 1.0)
    # nnU-Net: enlarged again by cubic interpolation in v1 (and here), by linear in v2.
    config.low_resolution = (0.5, 1.0)
    config.multiply = 0.25
    config.contrast = 0.25
    # 0.68 .. 1.46. nnU-Net: 0.7 .. 1.5, below 1 as often as above.
    config.inverted_gamma = config.gamma = 0.38
    # nnU-Net calls this a variance and uses it as a standard deviation.
    config.noise = 0.1
    config.probability.update({"rotate": 0.2, "scale": 0.2, "multiply": 0.15, "contrast": 0.15, "noise": 0.1})
    config.probability.update({"inverted_gamma": 0.1, "gamma": 0.3})
    # nnU-Net: 0.2 and 0.25, and then half of the channels.
    config.probability.update({"blur": 0.1, "low_resolution": 0.125})
    return config


def augment_unet() -> ConfigDict:
    """Returns the recipe of the U-Net paper: Ronneberger et al. (MICCAI 2015), section 3.1.

    The paper gives numbers for the deformation alone.

    Its numbers are for tiles of about 512 pixels. On a window of 96 the same 10 pixels bend five times as strongly, and the
    map folds onto itself in 6 of 100 windows; with elastic=5 in none of 200.
    """
    config = augment()
    config.update({"flip": False, "quarter_turns": False, "gamma": 0.0, "noise": 0.0})
    # "10 pixels standard deviation", "a coarse 3 by 3 grid".
    config.elastic, config.elastic_grid = 10.0, 3
    # "Shift and rotation invariance"; the amounts are ours.
    config.rotate, config.shift = 180.0, 16.0
    # "Gray value variations"; the amounts are ours.
    config.brightness, config.contrast = 0.1, 0.2
    # The paper's overlap-tile strategy fills missing context in this way.
    config.fill_mode = "mirror"
    return config


# By what stands after a colon in --config.
RECIPES = {"": augment, "nnunet": augment_nnunet, "unet": augment_unet}


def split(arg: str) -> tuple[str, str]:
    """Returns (folder, recipe) of the "FOLDER" or "FOLDER:RECIPE" after a colon in --config; a folder may contain colons."""
    folder, _, recipe = arg.rpartition(":")
    return (folder, recipe) if recipe in RECIPES and ":" in arg else (arg, "")


def unet_pp() -> ConfigDict:
    """Returns every option of U-Net++, the nested network: those of `unet()`, and these."""
    return ConfigDict(
        {
            **unet(),
            # The network. Its `variant` is paper, or "" for any.
            "name": "unet_pp",
            # True: a head on each node x_0_1 .. x_0_depth. False: one head, on the last.
            "deep_supervision": True,
            # Builds only the nodes of levels 1..level; 0 for all.
            "level": 0,
        }
    )


def unet() -> ConfigDict:
    """Returns every option of U-Net."""
    return ConfigDict(
        {
            # The network.
            "name": "unet",
            # paper, release, same or wide: checks that the other options are as published. "" allows any.
            "variant": "",
            # Channels of each level, level 0 (full resolution) first. n values halve the map n - 1 times; n - 1 is the depth.
            # For U-Net++ it is also the deepest level that can be chosen.
            "widths": (16, 32, 64, 128),
            # same, or valid: as published, the output is smaller than the input.
            "padding": "same",
            # none, batch, group or instance.
            "norm": "batch",
            # transpose, bilinear or nearest.
            "upsample": "transpose",
            # A classification network that reads the image: vgg16, vgg16_bn, resnet34, resnet50, densenet121, ...
            # (docs/how-to/encoders.md). "" for the network's own nodes.
            "encoder": "",
            # File of weights that the encoder starts from, made by `unet-jax from-torch`. "" starts at random.
            "encoder_weights": "",
            # Fraction of activations that are set to 0 in training.
            "dropout": 0.0,
            # Type of the computation: float32 or bfloat16 (or float64, see Network). Parameters are float32.
            "dtype": "float32",
            # softmax, or sigmoid: each channel is a mask, and masks may overlap.
            "activation": "softmax",
            # Levels whose nodes are computed again in the backward pass, e.g. (0, 1). Saves memory, costs time.
            "remat": (),
        }
    )


def fcn() -> ConfigDict:
    """Returns every option of FCN, the fully convolutional VGG-16."""
    return ConfigDict(
        {
            # The network.
            "name": "fcn",
            # Stride of the finest map that is scored: 32, 16 or 8.
            "stride": 8,
            # Channels of the five blocks, and of fc6 and fc7.
            "widths": (8, 16, 32, 64, 64, 80),
            # Dropout rate after fc6 and fc7.
            "dropout": 0.5,
            # As in `unet()`.
            "dtype": "float32",
            # As in `unet()`.
            "activation": "softmax",
        }
    )


def fc_densenet() -> ConfigDict:
    """Returns every option of FC-DenseNet, the densely connected network."""
    return ConfigDict(
        {
            # The network.
            "name": "fc_densenet",
            # 103, 67 or 56: checks that the next three options are as published. "" allows any.
            "variant": "",
            # Maps of the first convolution.
            "stem_features": 16,
            # Maps that each layer adds.
            "growth_rate": 8,
            # Layers of each block: on the way down, the bottleneck, on the way up.
            "layers_per_block": (2, 3, 4, 5, 4, 3, 2),
            # Dropout rate after every convolution except the first and the last.
            "dropout": 0.2,
            # As in `unet()`.
            "dtype": "float32",
            # As in `unet()`.
            "activation": "softmax",
        }
    )


# By the name in --config.model=NAME.
NETWORKS = {"unet_pp": unet_pp, "unet": unet, "fcn": fcn, "fc_densenet": fc_densenet}


def pipeline() -> dict:
    """Returns every key of `data` that all data sets share."""
    return {
        # Height and width of a training window in pixels.
        "patch": (96, 96),
        # image (zero mean, unit variance of the whole image), image_channels (the same of each channel), percentile (of each
        # channel the 1st percentile becomes 0 and the 99th becomes 1) or range (0..1, by the image's type or data.range).
        "normalize": "image",
        # range: the values that become 0 and 1, e.g. (-1000.0, 1000.0); () for 0 and the largest value of the type. Float
        # images need it.
        "range": (),
        # Fraction of the training images used; independent of the seed. A smaller fraction is a subset of a larger one.
        "train_fraction": 1.0,
        # Fraction of the windows that show a random pixel of a random class except class 0; nnU-Net uses 0.33.
        "foreground_fraction": 0.0,
        # Makes U-Net's weight map from the instances, for loss.weights.weighted_cross_entropy.
        "weight_map": False,
        # Width of that map in pixels. Its height is loss.options.weighted_cross_entropy.w0.
        "weight_map_sigma": 5.0,
        # masks, or borders: a third class, `border`, between objects that touch, so that they can be told apart
        # (docs/how-to/measure.md). Needs instances and one class besides the background.
        "targets": "masks",
        # borders: the largest distance in pixels of its pixels to another object.
        "border_width": 2.0,
        # Threads that make batches ahead.
        "num_threads": 2,
        # Decoded images of a split are kept in memory up to this many bytes.
        "cache_bytes": 1 << 30,
        # Folder of prepared data; "" for $UNET_JAX_CACHE or ~/.cache/unet_jax/data.
        "cache_dir": "",
    }


def electrodes() -> ConfigDict:
    """Returns every option of the synthetic X-rays: the keys of `pipeline()`, and these."""
    return ConfigDict(
        {
            # The data set.
            "name": "electrodes",
            **pipeline(),
            # Height and width of an image in pixels.
            "size": (128, 128),
            # Bits per pixel: 8 or 16.
            "bits": 8,
            # Seed of the images.
            "seed": 0,
            # Number of images in train.
            "num_train": 160,
            # Number of images in val.
            "num_val": 32,
            # Number of images in test.
            "num_test": 32,
            # Fields of `Physics` (unet_jax/data/datasets/electrodes/physics.py) to change, e.g. {"folded": 0.2}.
            "physics": {},
        }
    )


def image_folder(root: str) -> ConfigDict:
    """Returns every option of a folder of images and masks: the keys of `pipeline()`, and these."""
    return ConfigDict(
        {
            # The data set.
            "name": "image_folder",
            **pipeline(),
            # Folder that holds images/ and MASKS_DIR/. It may hold instances/ and index.csv (id,split[,group]).
            "root": root,
            # Name of the folder of masks.
            "masks_dir": "masks",
            # What the masks hold: "classes", or "instances", numbers of the objects of one class.
            "masks": "classes",
            # Names of the files without suffix; {stem} stands for the part that image, mask and instances have in common.
            "image_name": "{stem}",
            # Names of the masks, e.g. "{stem}_mask".
            "mask_name": "{stem}",
            # Names of the instances.
            "instance_name": "{stem}",
            # Names of the classes, by id; () for background, class_1, ...
            "class_names": (),
            # 0: as many as class_names, or the largest id in the masks + 1.
            "num_classes": 0,
            # Pixel values of the masks that stand for class 0, 1, ..., e.g. (0, 255); () if they are class ids.
            "mask_values": (),
            # An RGB triple per class, for masks in colour and for indexed masks.
            "palette": (),
            # What each dimension of a file is, e.g. "ZCYX": Y rows, X columns, C channels, any other letter pages; "" for what
            # the file says.
            "axes": "",
            # The channels that are kept, counted from 0, in this order; () for all.
            "channels": (),
            # "fill" reads a Zarr array with missing chunks, as its fill value; "error" refuses it.
            "missing_chunks": "error",
            # True takes a mask of one page for all pages of an image.
            "one_mask": False,
            # A CSV id,split[,group] in place of ROOT/index.csv: a path, or the name of a shipped file of configs/splits, e.g.
            # dsb2018.csv. Images that it does not name are left out.
            "split_file": "",
            # Fractions of train, val and test where no file gives the split.
            "split_fractions": (0.7, 0.15, 0.15),
            # Pixels of float images that are NaN or infinite: error (the image is refused) or void (they are left out, in
            # training and in prediction).
            "nan": "error",
        }
    )


def isbi2012(root: str) -> ConfigDict:
    """Returns every option of the membranes of ISBI 2012, in the organisers' files: the keys of `pipeline()`, and these."""
    return ConfigDict(
        {
            # The data set.
            "name": "isbi2012",
            **pipeline(),
            # Folder that holds train-volume.tif and train-labels.tif.
            "root": root,
            # A CSV id,split[,group] of slices 00 to 29; "" for blocks of 20 train, 4 val, 6 test.
            "split_file": "",
        }
    )


def dsb2018(root: str) -> ConfigDict:
    """Returns every option of the Data Science Bowl 2018, in the organisers' files: the keys of `pipeline()`, and these."""
    return ConfigDict(
        {
            # The data set.
            "name": "dsb2018",
            **pipeline(),
            # Folder that holds stage1_train, or stage1_train itself.
            "root": root,
            # A CSV id,split[,group] of the images to use; "" finds the fields of view.
            "split_file": "",
            # Fractions of train, val and test where there is no split file. Fields of view stay whole.
            "split_fractions": (0.7, 0.15, 0.15),
        }
    )


def tfds(name: str) -> ConfigDict:
    """Returns every option of a set that TensorFlow Datasets has prepared as ArrayRecord: the keys of `pipeline()`, and these.

    Args:
      name: its name in TensorFlow Datasets.
    """
    return ConfigDict(
        {
            # tfds:NAME.
            "name": f"tfds:{name}",
            **pipeline(),
            # Folder of the prepared sets; "" for the default of TensorFlow Datasets.
            "data_dir": "",
            # Feature that is the image.
            "image_key": "image",
            # Feature that is the mask.
            "mask_key": "segmentation_mask",
            # Feature that names an example; "" for its split and index.
            "id_key": "",
            # As in `image_folder()`.
            "class_names": (),
            # As in `image_folder()`.
            "num_classes": 0,
            # As in `image_folder()`.
            "mask_values": (),
            # Expressions of TensorFlow Datasets by split, e.g. "train[:90%]"; "" for none.
            "splits": {"train": "train", "val": "", "test": ""},
        }
    )


def splits(name: str) -> str:
    """Returns the split file configs/splits/NAME.csv, which every installation of the package finds: a run may move between two.

    Raises:
      ValueError: the package ships no such file.
    """
    shipped = sorted(path.stem for path in (Path(__file__).parent / "splits").glob("*.csv"))
    if name not in shipped:
        raise ValueError(f"split file {name!r} is unknown; choose one of {', '.join(shipped)}")
    return f"configs/splits/{name}.csv"
