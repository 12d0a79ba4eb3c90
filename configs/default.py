"""U-Net++ with deep supervision on the embedded synthetic X-rays: what `make train` runs, and every key there is.

    unet-jax train --config=default --workdir=runs/electrodes

Hardware: two CPU cores, 4 minutes. Score on test, three seeds: pooled IoU anode .917 ± .003, cathode .921 ± .003,
mean .919 ± .001.

Any key can be set on the command line: --config.optim.learning_rate=3e-4. Types are checked. A recipe of augmentation goes
behind a colon, here and in every config, where a folder is given behind that: default:nnunet, nuclei:FOLDER:unet. Another
network with its default options: --config.model=unet (a key of NETWORKS below); --config.model.KEY=VALUE changes one.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """The default experiment; `arg` (after a colon in --config) names one of `RECIPES` of augmentation, "" for ours."""
    if arg not in RECIPES:
        known = ", ".join(filter(None, RECIPES))
        raise ValueError(f"{arg!r} is no recipe of augmentation; known: {known}, or nothing after the colon")
    config = ConfigDict()
    config.seed = 0  # of initialisation, order of the data, windows, augmentation and dropout
    config.model = unet_pp()
    config.data = electrodes()
    config.augment = RECIPES[arg]()
    config.loss = ConfigDict(
        {
            "weights": {  # the weight of each loss; 0 leaves it out
                "cross_entropy": 1.0,  # needs softmax
                "binary_cross_entropy": 0.0,  # needs sigmoid: each channel a mask of its own
                "weighted_cross_entropy": 0.0,  # of either, with U-Net's map of weights: needs data.weight_map
                "focal": 0.0,  # cross entropy, smaller where the network is sure
                "dice": 1.0,
                "generalised_dice": 0.0,  # one Dice of all classes, each weighted by the inverse square of its size
                "tversky": 0.0,  # Dice with one weight for false and one for missed pixels
                "focal_tversky": 0.0,
                "lovasz": 0.0,  # 1 - IoU of each image, made convex: Lovász-softmax, with a sigmoid the Lovász hinge
                "bce_dice": 0.0,  # U-Net++'s own; needs sigmoid
            },
            "options": {  # of those losses that have any
                "weighted_cross_entropy": {"w0": 10.0},  # weight of the map, added to the class weights
                "focal": {"gamma": 2.0},  # exponent of 1 - p; 0 for the plain cross entropy
                "tversky": {"alpha": 0.3, "beta": 0.7},  # weight of a false pixel, and of a missed one
                "focal_tversky": {"alpha": 0.3, "beta": 0.7, "gamma": 4 / 3},  # gamma: of the power 1 / gamma
            },
            "class_weights": (),  # one per class; () for equal ones
            "class_weighting": "",  # instead, from the training pixels: inverse (1 / frequency, mean 1), median; "" for none
            "head_weights": (),  # one per head, shallow to deep; () for 1 / number of heads (the paper's are 1 each)
        }
    )
    config.optim = ConfigDict(
        {
            "name": "adamw",  # adamw, adam, sgd, rmsprop, lion
            "learning_rate": 2e-3,  # the peak
            # After the warm-up. Down to 0 at the last step: cosine, poly, one_cycle (up in the warm-up, nearly to 0); whatever
            # the last step is: constant, step, plateau (by the score on val).
            "schedule": "cosine",
            "warmup_steps": 50,  # steps of the warm-up; or 0, and one of the next two
            "warmup_epochs": 0.0,
            "warmup_examples": 0,
            "power": 0.9,  # of poly
            "boundaries": (),  # of step: where the rate falls, in the unit that the run's length is given in
            "lr_drop_factor": 0.1,  # of step and plateau: what the rate is multiplied by
            "plateau_patience": 3,  # of plateau: evaluations in a row without a gain, after which the rate falls
            "plateau_gain": 1e-4,  # of plateau: the least gain of IoU over the best score
            "weight_decay": 1e-4,  # on kernels only; decoupled for adamw and lion, L2 before the moments for the others
            "momentum": 0.9,  # of sgd (U-Net's authors: 0.99) and rmsprop; 0 for none
            "nesterov": False,  # of sgd and rmsprop
            "b1": 0.9,  # of adam, adamw and lion
            "b2": 0.999,  # of adam, adamw and lion (lion's authors: 0.99)
            "rmsprop_decay": 0.9,  # of rmsprop
            "eps": 1e-8,  # of adam, adamw and rmsprop
            "grad_clip": 1.0,  # bound on the gradient's global norm; 0 for none
            "accumulate": 1,  # micro-batches that the batch of a step is split into, to save memory; exact
            "ema_decay": 0.0,  # of a moving average of the weights, which is scored too, e.g. 0.999; 0 for none
            "freeze": (),  # patterns of parameters that stay as they are, e.g. ("encoder/*",); BatchNorm's statistics move on
            "lr_multipliers": (),  # pairs of such a pattern and what the rate is multiplied by, e.g. (("encoder/*", 0.1),)
        }
    )
    config.train = ConfigDict(
        {
            "batch_size": 8,  # examples a step, over all devices of all processes and all micro-batches
            "num_steps": 320,  # how long the run is; or 0, and one of the next two
            "num_epochs": 0.0,
            "num_examples": 0,
            "log_every": 20,  # steps between rows of metrics.jsonl; each checkpoint ends a row, too
            "eval_every": 160,  # steps between evaluations on val, each with a checkpoint of that very state; or 0, and ...
            "eval_every_epochs": 0.0,
            "eval_every_examples": 0,
            "patience": 0,  # evaluations without a better score after which the run ends early; 0 for never
            "tensorboard": False,  # also writes WORKDIR/tensorboard: every row, and predictions on val; needs the extra
            "init_from": "",  # workdir of a run from whose best network this one starts, parameter by name; "" for none
        }
    )
    config.eval = ConfigDict(
        {
            "batch_size": 8,  # whole images at a time, over all devices
            "pad_multiple": 64,  # image sizes are padded by mirroring to multiples of this many pixels
            "mode": "accurate",  # accurate (mean of the heads' probabilities) or fast (the deepest head)
            # Classes whose masks are written and whose mean is the score; () for all but class 0.
            "classes": ("anode", "cathode"),
            "weights": "raw",  # raw, or ema (of optim.ema_decay): whose score chooses the best, and what a run is used with
            "num_pictures": 12,  # overlays written with a score, spread evenly over the split; 0 for all
        }
    )
    config.checkpoint = ConfigDict(
        {
            "every": 0,  # steps between checkpoints besides those of the evaluations; 0 for none
            "latest": 2,  # how many of the latest are kept; the best one on val is always kept
        }
    )
    return config


def augment() -> ConfigDict:
    """Every option of augmentation. A pair is (least, most) of what is drawn; grey values change in the order of the keys.

    To see what the network will see: unet-jax preview --config=CONFIG --out=sheet.png
    """
    return ConfigDict(
        {
            "flip": True,  # mirror left-right and top-bottom, each with probability 1/2
            "quarter_turns": True,  # by 0, 90, 180 or 270 degrees (0 or 180 if the window is not square)
            "elastic": 0.0,  # std in pixels of random displacements on a coarse grid, bicubic between them; 0 for none
            "elastic_grid": 3,  # points of that grid on each axis of the window
            "rotate": 0.0,  # degrees, up to this many either way, about the window's centre
            "scale": (1.0, 1.0),  # factor, above 1 larger; as often larger as smaller where the pair is (1/s, s)
            "shear": 0.0,  # degrees, up to this many either way, by which upright lines lean over
            "shift": 0.0,  # pixels, up to this many either way on each axis
            "interpolation": "linear",  # of the image in these five: linear, cubic; masks take the nearest pixel
            "fill_mode": "mirror",  # what these five show from outside the window: mirror, or void (not valid)
            "blur": (0.0, 0.0),  # std of a Gaussian in pixels
            "low_resolution": (1.0, 1.0),  # of the image's size: reduced to it and back
            "multiply": 0.0,  # factor in 1 - m .. 1 + m about 0, with normalize "image" the image's mean
            "contrast": 0.2,  # factor in 1 - c .. 1 + c about the window's mean
            "brightness": 0.1,  # added, up to this many standard deviations of the image
            "inverted_gamma": 0.0,  # as gamma, on the negative
            "gamma": 0.2,  # exponent in exp(-g) .. exp(g) on the window's range
            "noise": 0.05,  # standard deviation of added Gaussian noise, at most
            "cutout": 0,  # rectangles set to the window's mean, their mask kept
            "cutout_size": (0.1, 0.3),  # their height and width as parts of the window's
            "probability": {  # that a window undergoes it at all
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
    """nnU-Net's default recipe in 2-D: Isensee et al. (Nature Methods, 2021), values of nnU-Net v2's nnUNetTrainer.

    Theirs differs in this: each channel of an image has draws of its own; the order is noise, blur, multiply, contrast, low
    resolution, gammas; contrast clips to the old range and gamma keeps mean and variance; a warp reads a larger part of the
    image instead of the window mirrored, and 0 beyond the image; masks are warped class by class, linearly; rotation is
    +-15 degrees where the window is more than 1.5 times as long as wide.
    """
    config = augment()
    config.update({"flip": True, "quarter_turns": False, "brightness": 0.0})
    config.rotate = 180.0
    config.scale = (0.7, 1.4)  # theirs: a factor of the distances, not of the objects, and uniform, not its logarithm
    config.blur = (0.5, 1.0)  # theirs: drawn for each axis
    config.low_resolution = (0.5, 1.0)  # theirs: back by cubic in v1 (and here), linear in v2
    config.multiply = 0.25
    config.contrast = 0.25
    config.inverted_gamma = config.gamma = 0.38  # 0.68 .. 1.46; theirs: 0.7 .. 1.5, below 1 as often as above
    config.noise = 0.1  # theirs is called a variance and taken for a standard deviation
    config.probability.update({"rotate": 0.2, "scale": 0.2, "multiply": 0.15, "contrast": 0.15, "noise": 0.1})
    config.probability.update({"inverted_gamma": 0.1, "gamma": 0.3})
    config.probability.update({"blur": 0.1, "low_resolution": 0.125})  # theirs: 0.2, 0.25, and then half the channels
    return config


def augment_unet() -> ConfigDict:
    """The U-Net paper's: Ronneberger et al. (MICCAI 2015), section 3.1. It gives numbers for the deformation alone.

    Those are for tiles of about 512 pixels. On a window of 96 the same 10 pixels bend five times as strongly, and the map folds
    onto itself in 6 of 100 windows; with elastic=5 in none of 200.
    """
    config = augment()
    config.update({"flip": False, "quarter_turns": False, "gamma": 0.0, "noise": 0.0})
    config.elastic, config.elastic_grid = 10.0, 3  # "10 pixels standard deviation", "a coarse 3 by 3 grid"
    config.rotate, config.shift = 180.0, 16.0  # "shift and rotation invariance": how much is ours
    config.brightness, config.contrast = 0.1, 0.2  # "gray value variations": how much is ours
    config.fill_mode = "mirror"  # as its overlap-tile strategy fills missing context
    return config


RECIPES = {"": augment, "nnunet": augment_nnunet, "unet": augment_unet}  # by what --config says after a colon


def split(arg: str) -> tuple[str, str]:
    """(folder, recipe) of the "FOLDER" or "FOLDER:RECIPE" after a colon in --config; a folder may have colons itself."""
    folder, _, recipe = arg.rpartition(":")
    return (folder, recipe) if recipe in RECIPES and ":" in arg else (arg, "")


def unet_pp() -> ConfigDict:
    """Every option of the nested network."""
    return ConfigDict(
        {
            **unet(),
            "name": "unet_pp",  # variant: paper
            "deep_supervision": True,  # a head on each x_0_1 .. x_0_depth instead of the last alone
            "level": 0,  # builds only the nodes of levels 1..level; 0 for all
        }
    )


def unet() -> ConfigDict:
    """Every option of the plain network."""
    return ConfigDict(
        {
            "name": "unet",
            "variant": "",  # makes sure that the other options are those published: paper, release, same, wide; "" for any
            "widths": (16, 32, 64, 128),  # channels by level; as many levels as values
            "padding": "same",  # same, or valid: as published, the output smaller than the input
            "norm": "batch",  # none, batch, group, instance
            "upsample": "transpose",  # transpose, bilinear, nearest
            "encoder": "",  # "" for nodes of its own; or vgg16, vgg16_bn, resnet34, resnet50, densenet121, ...: README.md
            "encoder_weights": "",  # a file of `unet-jax from-torch` that the encoder starts from; "" for at random
            "dropout": 0.0,
            "dtype": "float32",  # of the computation: float32, bfloat16 (or float64, see Network); parameters are float32
            "activation": "softmax",  # softmax, or sigmoid: each channel a mask of its own, and masks may overlap
            "remat": (),  # levels whose nodes are computed again for the gradient, to save memory, e.g. (0, 1); slower
        }
    )


def fcn() -> ConfigDict:
    """Every option of the fully convolutional VGG-16."""
    return ConfigDict(
        {
            "name": "fcn",
            "stride": 8,  # of the finest map that is scored: 32, 16 or 8
            "widths": (8, 16, 32, 64, 64, 80),  # channels of the five blocks, and of fc6 and fc7
            "dropout": 0.5,  # behind fc6 and fc7
            "dtype": "float32",  # as of unet, like activation
            "activation": "softmax",
        }
    )


def fc_densenet() -> ConfigDict:
    """Every option of the densely connected network."""
    return ConfigDict(
        {
            "name": "fc_densenet",
            "variant": "",  # makes sure that the next three are those published: 103, 67, 56; "" for any
            "stem_features": 16,  # maps of the first convolution
            "growth_rate": 8,  # maps that each layer adds
            "layers_per_block": (2, 3, 4, 5, 4, 3, 2),  # of the blocks down, the bottleneck and the blocks up
            "dropout": 0.2,  # behind every convolution but the first and the last
            "dtype": "float32",  # as of unet, like activation
            "activation": "softmax",
        }
    )


NETWORKS = {"unet_pp": unet_pp, "unet": unet, "fcn": fcn, "fc_densenet": fc_densenet}  # by what --config.model= says


def pipeline() -> dict:
    """The keys of `data` that every data set shares."""
    return {
        "patch": (96, 96),  # height, width of a training window in pixels
        "normalize": "image",  # image (zero mean, unit variance of the whole image) or range (0..1 by its type)
        # Of the training images. Independent of the seed; a smaller fraction is a subset of a larger one.
        "train_fraction": 1.0,
        # Of the windows that show a random pixel of a random class other than class 0; nnU-Net uses 0.33.
        "foreground_fraction": 0.0,
        "weight_map": False,  # True: makes U-Net's weight map from the instances, for weighted_cross_entropy
        "weight_map_sigma": 5.0,  # width in pixels; the height is loss.options.weighted_cross_entropy.w0
        "num_threads": 2,  # threads that make batches ahead
        "cache_bytes": 1 << 30,  # decoded images of a split are kept in memory up to this many bytes
        "cache_dir": "",  # folder of prepared data; "" for $UNET_JAX_CACHE or ~/.cache/unet_jax/data
    }


def electrodes() -> ConfigDict:
    """Every option of the synthetic X-rays."""
    return ConfigDict(
        {
            "name": "electrodes",
            **pipeline(),
            "size": (128, 128),  # height, width of an image in pixels
            "bits": 8,  # per pixel, 8 or 16
            "seed": 0,  # of the images
            "num_train": 160,  # number of images in each split
            "num_val": 32,
            "num_test": 32,
            "physics": {},  # fields of data/datasets/electrodes/physics.py's Physics to change, e.g. {"folded": 0.2}
        }
    )


def image_folder(root: str) -> ConfigDict:
    """Every option of a folder of images and masks."""
    return ConfigDict(
        {
            "name": "image_folder",
            **pipeline(),
            "root": root,  # ROOT/images, ROOT/MASKS_DIR, optional ROOT/instances and ROOT/index.csv (id,split[,group])
            "masks_dir": "masks",
            "class_names": (),  # by class id; () for background, class_1, ...
            "num_classes": 0,  # 0: the number of names, else the largest id in the masks + 1
            "mask_values": (),  # pixel values that stand for class 0, 1, ..., e.g. (0, 255); () if they are ids
            "palette": (),  # an RGB triple per class, for RGB masks
            # A CSV id,split[,group] instead of ROOT/index.csv; images that it does not name are left out. A path, or the name
            # of a file of configs/splits, which the package ships: dsb2018.csv.
            "split_file": "",
            "split_fractions": (0.7, 0.15, 0.15),  # of train, val, test where there is no such file
        }
    )


def isbi2012(root: str) -> ConfigDict:
    """Every option of the membranes of ISBI 2012 as their organisers ship them."""
    return ConfigDict(
        {
            "name": "isbi2012",
            **pipeline(),
            "root": root,  # holds train-volume.tif and train-labels.tif
            "split_file": "",  # a CSV id,split[,group] of slices 00 to 29; "" for blocks of 20 train, 4 val, 6 test
        }
    )


def dsb2018(root: str) -> ConfigDict:
    """Every option of the nuclei of the Data Science Bowl 2018 as their organisers ship them."""
    return ConfigDict(
        {
            "name": "dsb2018",
            **pipeline(),
            "root": root,  # holds stage1_train, or is stage1_train itself
            "split_file": "",  # a CSV id,split[,group] of the images to use; "" finds the fields of view
            "split_fractions": (0.7, 0.15, 0.15),  # of train, val, test where there is no split file; fields stay whole
        }
    )


def tfds(name: str) -> ConfigDict:
    """Every option of a TensorFlow Datasets set that is prepared as ArrayRecord; `name` is its name in TFDS."""
    return ConfigDict(
        {
            "name": f"tfds:{name}",
            **pipeline(),
            "data_dir": "",  # folder of the prepared sets; "" for the default of TFDS
            "image_key": "image",  # the feature that is the image
            "mask_key": "segmentation_mask",  # the feature that is the mask
            "id_key": "",  # the feature that names an example; "" for its split and index
            "class_names": (),  # these three as in image_folder
            "num_classes": 0,
            "mask_values": (),
            "splits": {"train": "train", "val": "", "test": ""},  # TFDS expressions, e.g. "train[:90%]"; "" for none
        }
    )


def splits(name: str) -> str:
    """The split file configs/splits/NAME.csv, which every installation of the package finds: a run may move between two."""
    return f"configs/splits/{name}.csv"
